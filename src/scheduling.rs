//! How the system shares the cores among this program's threads.

/// Has the threads of this process, from the calling one on, take turns rather than interrupt one another.
///
/// A reader that wakes would else interrupt the loop after every request, and the loop in turn a reader: each
/// thread then hands over a single item, and the cores spend their time on switching. `SCHED_BATCH` lets the
/// running one finish, so that what has arrived is taken together. See `sched(7)`; nothing changes where it is not known.
pub fn batch() {
    #[cfg(target_os = "linux")]
    {
        let parameters = libc::sched_param { sched_priority: 0 };
        // SAFETY: the structure is read during the call only, and is whole.
        #[allow(unsafe_code, reason = "no library that is kept well has a safe function for it")]
        let done = unsafe { libc::sched_setscheduler(0, libc::SCHED_BATCH, &raw const parameters) };
        if done != 0 {
            tracing::debug!(error = %std::io::Error::last_os_error(), "threads are scheduled as usual");
        }
    }
}
