//! `rekindle job …`: one file per group of commands.

mod claims;
mod kinds;
mod lines;
mod list;
mod show;
mod shown;
mod submit;
mod work;

use clap::{Args, Subcommand};
use rekindle_client::Client;

use super::{Address, Outcome};

#[derive(Args, Debug)]
pub(super) struct JobArgs {
    #[command(flatten)]
    address: Address,
    #[command(subcommand)]
    command: JobCommand,
}

impl JobArgs {
    /// Where the server is.
    pub(super) fn address_mut(&mut self) -> &mut String {
        &mut self.address.addr
    }
}

#[derive(Debug, Subcommand)]
enum JobCommand {
    /// Submit a job, or one per line of a file
    Submit(submit::SubmitArgs),
    /// List jobs, or count them
    List(list::ListArgs),
    /// Show one job: what it carries, and what happened to it
    Show(show::ShowArgs),
    /// Wait for the end of a job and print its result
    Wait(show::WaitArgs),
    /// Call a job off, whoever works on it
    Cancel(claims::CancelArgs),
    /// Try a job again at once: one that failed, was cancelled, or waits for its time
    Retry(claims::RetryArgs),
    /// Claim pending jobs, as JSON lines
    Claim(claims::ClaimArgs),
    /// Keep a claim, and say how far the work is
    Heartbeat(claims::HeartbeatArgs),
    /// Finish a claimed job with its result
    Complete(claims::CompleteArgs),
    /// Give a claimed job up: the attempt failed
    Fail(claims::FailArgs),
    /// Give a claimed job back that nobody worked on
    Release(claims::ReleaseArgs),
    /// Run a command for each job: exit 0 completes it, anything else fails the attempt
    Work(work::WorkArgs),
    /// Look at the types of jobs, and set how they are treated
    Type(kinds::TypeArgs),
}

pub(super) async fn run(args: JobArgs) -> Outcome {
    let client = args.address.client()?;
    let jobs = client.jobs();
    match args.command {
        JobCommand::Submit(args) => submit::run(&client, args).await,
        JobCommand::List(args) => list::run(&jobs, args).await,
        JobCommand::Show(args) => show::show(&jobs, &args).await,
        JobCommand::Wait(args) => show::wait(&client, &args).await,
        JobCommand::Cancel(args) => claims::cancel(&jobs, &args).await,
        JobCommand::Retry(args) => claims::retry(&jobs, &args).await,
        JobCommand::Claim(args) => claims::claim(&jobs, args).await,
        JobCommand::Heartbeat(args) => claims::heartbeat(&jobs, args).await,
        JobCommand::Complete(args) => claims::complete(&jobs, args).await,
        JobCommand::Fail(args) => claims::fail(&jobs, args).await,
        JobCommand::Release(args) => claims::release(&jobs, args).await,
        JobCommand::Work(args) => work::run(&client, args).await,
        JobCommand::Type(args) => kinds::run(&jobs, args).await,
    }
}

/// A client that waits for a server that restarts, of the same server: for what goes on for longer.
fn patient(
    client: &Client,
    timeout: std::time::Duration,
) -> Result<Client, rekindle_client::Error> {
    Ok(Client::connect(client.address())?.with_timeout(timeout))
}
