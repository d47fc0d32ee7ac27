//! What happens in the child of a fork().

/// Calls `hook` in every child that this process forks from now on, before fork() returns there.
pub fn register(hook: extern "C" fn()) {
    // SAFETY: the handler is a plain function that outlives the process; it touches one atomic
    unsafe { libc::pthread_atfork(None, None, Some(hook)) };
}
