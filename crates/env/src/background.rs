//! Work that waits for everything else.

use std::io;

/// How much nicer than others: at this the scheduler gives a tenth of what anybody else gets, and
/// everything that nobody else wants.
#[cfg(target_os = "linux")]
const NICE: i32 = 10;

/// Does some work on a thread of its own that the machine serves after all others, and waits for
/// it. Where threads have no priorities of their own it is a thread like any other.
///
/// # Errors
/// The thread could not be made.
pub fn in_background<T: Send>(name: &str, work: impl FnOnce() -> T + Send) -> io::Result<T> {
    std::thread::scope(|scope| {
        let thread =
            std::thread::Builder::new().name(name.to_owned()).spawn_scoped(scope, || {
                lower_priority();
                work()
            })?;
        Ok(thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    })
}

/// Lowers the priority of the calling thread, for good.
fn lower_priority() {
    // On Linux this is of the thread; elsewhere it would be of the whole process. Who may not be
    // nicer works as hard as others.
    #[cfg(target_os = "linux")]
    let _ = rustix::process::nice(NICE);
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_os = "linux")]
    fn only_that_thread_is_nicer() {
        let before = rustix::process::nice(0).unwrap();
        let inside = in_background("test", || rustix::process::nice(0).unwrap()).unwrap();
        assert_eq!(inside, (before + NICE).min(19));
        assert_eq!(rustix::process::nice(0).unwrap(), before);
    }
}
