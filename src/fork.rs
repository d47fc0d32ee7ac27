//! Identifies the current process by counting forks.
//!
//! A forked child has only one thread, the one that called `fork`, so work that the parent's other threads were about
//! to do is never done in the child. Process numbers are not sufficient to recognise such a child: a descendant may get
//! the number of an ancestor, if numbers wrap around or PID namespaces are nested. Instead a handler that the system
//! calls in each child (`pthread_atfork`) counts forks. The process number is checked as well, for children that are
//! created without calling handlers: by `_Fork`, or by the system call itself.
//!
//! Nothing here takes a lock or allocates, because the handler runs in the child of a process with many threads.
//!
//! Registering the handler is one of the few uses of `unsafe` outside of `src/simd/` and `src/ffi/`.

/// This process among its ancestors: none of them has the same number, none has 0.
pub fn process() -> usize {
    counting::process()
}

/// Whether this process was forked since the library was loaded.
pub fn is_child() -> bool {
    process() != FIRST
}

/// Whether the calling thread is the one that forked: the only one here that is older than the process.
pub fn is_forking_thread() -> bool {
    is_child() && counting::is_forking_thread()
}

/// The process that loaded the library.
const FIRST: usize = 1;

#[cfg(unix)]
#[allow(unsafe_code)] // a handler is registered with the system's C library, which has no other interface
mod counting {
    use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};

    static PROCESS: AtomicUsize = AtomicUsize::new(super::FIRST);
    /// The process number that belongs to it.
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    static FORKING_THREAD: AtomicUsize = AtomicUsize::new(0);
    static IS_REGISTERED: AtomicBool = AtomicBool::new(false);

    /// Registers when the library is loaded: rayon's pools may have been in use, and inherited, before any function of
    /// this crate is called.
    #[cfg(not(target_os = "aix"))] // which has no such section
    #[used]
    #[cfg_attr(target_vendor = "apple", unsafe(link_section = "__DATA,__mod_init_func"))]
    #[cfg_attr(not(target_vendor = "apple"), unsafe(link_section = ".init_array"))]
    static WHEN_LOADED: extern "C" fn() = register;

    pub fn process() -> usize {
        // Where no linker or loader has kept the line above.
        register();
        let number = std::process::id();
        if NUMBER.load(Ordering::Acquire) != number {
            // No handler has run in this child. Two threads that find it out at once count twice, which leaves one of
            // them a pool that it will not use again; the other order would let one use its ancestor's.
            enter();
        }
        PROCESS.load(Ordering::Acquire)
    }

    pub fn is_forking_thread() -> bool {
        FORKING_THREAD.load(Ordering::Relaxed) == this_thread()
    }

    fn this_thread() -> usize {
        // SAFETY: it has no conditions
        unsafe { libc::pthread_self() as usize }
    }

    /// Once, as a rule. Threads that come here together register twice, which does no harm: a fork then counts for two.
    /// Waiting for one another is what they must not do.
    extern "C" fn register() {
        if IS_REGISTERED.load(Ordering::Acquire) {
            return;
        }
        NUMBER.store(std::process::id(), Ordering::Release);
        // SAFETY: the handler does what is allowed in the child of a process of many threads: it stores numbers. The
        // library's code stays where it is, or the C library forgets the handler with it.
        if unsafe { libc::pthread_atfork(None, None, Some(enter_child)) } == 0 {
            IS_REGISTERED.store(true, Ordering::Release);
        }
    }

    unsafe extern "C" fn enter_child() {
        enter();
    }

    fn enter() {
        PROCESS.fetch_add(1, Ordering::AcqRel);
        FORKING_THREAD.store(this_thread(), Ordering::Relaxed);
        NUMBER.store(std::process::id(), Ordering::Release);
    }
}

/// There is no `fork`.
#[cfg(not(unix))]
mod counting {
    pub fn process() -> usize {
        super::FIRST
    }

    pub fn is_forking_thread() -> bool {
        false
    }
}
