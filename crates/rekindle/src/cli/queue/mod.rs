//! `rekindle queue …`: one file per command.

mod admin;
mod receive;
mod send;
mod tokens;
mod work;

use clap::{Args, Subcommand};

use super::{Address, Outcome};

#[derive(Args, Debug)]
pub(super) struct QueueArgs {
    #[command(flatten)]
    address: Address,
    #[command(subcommand)]
    command: QueueCommand,
}

impl QueueArgs {
    /// Where the server is.
    pub(super) fn address_mut(&mut self) -> &mut String {
        &mut self.address.addr
    }
}

#[derive(Debug, Subcommand)]
enum QueueCommand {
    /// Create a queue
    Create(admin::CreateArgs),
    /// List all queues
    List(admin::ListArgs),
    /// Show one queue
    Show(admin::ShowArgs),
    /// Delete a queue with all its messages
    Delete(admin::NameArgs),
    /// Delete the messages of a queue
    Purge(admin::NameArgs),
    /// Send messages, one per line
    Send(send::SendArgs),
    /// Receive messages as JSON lines; they are leased until they are acked
    Receive(receive::ReceiveArgs),
    /// Finish messages
    Ack(tokens::AckArgs),
    /// Give messages back
    Nack(tokens::NackArgs),
    /// Keep messages longer
    Extend(tokens::ExtendArgs),
    /// Run a command for each message: exit 0 acks, anything else nacks
    Work(work::WorkArgs),
}

pub(super) async fn run(args: QueueArgs) -> Outcome {
    let client = args.address.client()?;
    match args.command {
        QueueCommand::Create(args) => admin::create(&client, args).await,
        QueueCommand::List(args) => admin::list(&client, &args).await,
        QueueCommand::Show(args) => admin::show(&client, &args).await,
        QueueCommand::Delete(args) => admin::delete(&client, &args).await,
        QueueCommand::Purge(args) => admin::purge(&client, &args).await,
        QueueCommand::Send(args) => send::run(&client, args).await,
        QueueCommand::Receive(args) => receive::run(&client, &args).await,
        QueueCommand::Ack(args) => tokens::ack(&client, &args).await,
        QueueCommand::Nack(args) => tokens::nack(&client, &args).await,
        QueueCommand::Extend(args) => tokens::extend(&client, &args).await,
        QueueCommand::Work(args) => work::run(&client, args).await,
    }
}
