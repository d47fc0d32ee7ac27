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

/// A number that identifies this process. None of its ancestors has the same number, and no process has 0.
pub fn process() -> usize {
    counting::process()
}

/// Whether this process was forked since the library was loaded.
pub fn is_child() -> bool {
    process() != FIRST
}

/// Whether the calling thread is the one that forked. It is the only thread that existed before this process did.
pub fn is_forking_thread() -> bool {
    is_child() && counting::is_forking_thread()
}

/// The process that loaded the library.
const FIRST: usize = 1;

#[cfg(unix)]
#[allow(unsafe_code)] // only the system's C library can register a handler
mod counting {
    use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};

    static PROCESS: AtomicUsize = AtomicUsize::new(super::FIRST);
    /// The process number at that count.
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    static FORKING_THREAD: AtomicUsize = AtomicUsize::new(0);
    static IS_REGISTERED: AtomicBool = AtomicBool::new(false);

    /// Registers when the library is loaded: rayon's pools may have been in use, and inherited, before any function of
    /// this crate is called.
    #[cfg(not(target_os = "aix"))] // AIX has no such section
    #[used]
    #[cfg_attr(target_vendor = "apple", unsafe(link_section = "__DATA,__mod_init_func"))]
    #[cfg_attr(not(target_vendor = "apple"), unsafe(link_section = ".init_array"))]
    static WHEN_LOADED: extern "C" fn() = register;

    pub fn process() -> usize {
        // Needed if a linker or loader has dropped the entry above.
        register();
        let number = std::process::id();
        if NUMBER.load(Ordering::Acquire) != number {
            // No handler has run in this child. If two threads notice this at the same time, the fork is counted twice,
            // and one of them is left with a pool that it will not use again. In the other order, one of them could use
            // the pool of an ancestor.
            enter();
        }
        PROCESS.load(Ordering::Acquire)
    }

    pub fn is_forking_thread() -> bool {
        FORKING_THREAD.load(Ordering::Relaxed) == this_thread()
    }

    fn this_thread() -> usize {
        // SAFETY: this call has no conditions
        unsafe { libc::pthread_self() as usize }
    }

    /// Normally registers once. If several threads arrive at the same time, they register several times, which does no
    /// harm: a fork then counts as two. They must not wait for each other.
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

/// On systems without `fork`.
#[cfg(not(unix))]
mod counting {
    pub fn process() -> usize {
        super::FIRST
    }

    pub fn is_forking_thread() -> bool {
        false
    }
}
