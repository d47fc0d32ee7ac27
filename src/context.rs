//! Threads and instruction set.

use crate::simd::Isa;

/// The threads and the instruction set that calls use.
///
/// `Context::default()` uses the best instruction set and, with feature `rayon`, the current rayon pool of the caller.
/// The environment variable `LOSSKIT_ISA` (`scalar`, `avx2`, `avx512`, `neon`) limits its instruction set.
/// `LOSSKIT_NUM_THREADS` gives it a pool of its own with that number of threads. Neither changes the bits of any
/// result. Small inputs are processed on the caller's thread alone.
///
/// After `fork` the child process may use and drop contexts in any order, and results have the same bits. Inherited
/// contexts whose pools had started, and inherited rayon pools, run on the caller's thread alone in the child; dropping
/// them does not free the memory of their threads. Contexts and pools that the child creates have threads again. So has
/// `Context::default()`, if rayon's global pool was not in use before the fork.
///
/// ```
/// use losskit::{Context, Isa};
/// let quiet = Context::with_threads(1);               // never starts a thread
/// let plain = Context::with_threads(2).cap_isa(Isa::Scalar);
/// assert_eq!(plain.isa(), Isa::Scalar);
/// ```
#[derive(Debug)]
pub struct Context {
    /// `None` means the instruction set of the process default.
    isa: Option<Isa>,
    #[cfg(feature = "rayon")]
    threads: Threads,
}

#[cfg(feature = "rayon")]
#[derive(Debug)]
enum Threads {
    One,
    /// The rayon pool that the caller runs in, or rayon's global one.
    Current,
    Own(pool::Pool),
    /// The process default's pool.
    Shared,
}

impl Default for Context {
    fn default() -> Self {
        Context {
            isa: Some(default_isa()),
            #[cfg(feature = "rayon")]
            threads: match settings::get().threads {
                None => Threads::Current,
                Some(1) => Threads::One,
                Some(_) => Threads::Shared,
            },
        }
    }
}

#[cfg(feature = "std")]
fn default_isa() -> Isa {
    settings::get().isa
}
#[cfg(not(feature = "std"))]
fn default_isa() -> Isa {
    Isa::best()
}

impl Context {
    /// The largest number of threads of a context. [`Context::with_threads`] reduces a larger number to this one.
    /// `LOSSKIT_NUM_THREADS` must not exceed it.
    pub const MAX_THREADS: usize = 4096;

    /// A context with a thread pool of its own with this number of threads, at most
    /// [`MAX_THREADS`](Context::MAX_THREADS). The pool starts when it is first needed. Dropping the context ends its
    /// threads and waits for them. 1 never starts a thread; 0 means one thread for each core. If the system cannot
    /// start that many threads, the caller's thread does all the work.
    ///
    /// Without feature `rayon` the number is ignored.
    pub fn with_threads(threads: usize) -> Self {
        let threads = threads.min(Context::MAX_THREADS);
        let _ = threads;
        Context {
            isa: Some(default_isa()),
            #[cfg(feature = "rayon")]
            threads: if threads == 1 { Threads::One } else { Threads::Own(pool::Pool::new(threads)) },
        }
    }

    /// Limits the instruction set to `isa`.
    pub fn cap_isa(mut self, isa: Isa) -> Self {
        let (cap, own) = (isa.capped(), self.isa());
        let rank = |isa| Isa::ALL.iter().position(|&i| i == isa);
        self.isa = Some(if rank(cap) < rank(own) { cap } else { own });
        self
    }

    /// The instruction set that calls with this context use.
    pub fn isa(&self) -> Isa {
        self.isa.unwrap_or_else(default_isa)
    }

    /// The process default of C callers: like [`Context::default`], but it never runs in a pool that does not belong to
    /// this library.
    #[cfg(feature = "capi")]
    pub(crate) fn process_default() -> &'static Context {
        static DEFAULT: Context = Context {
            isa: None,
            #[cfg(feature = "rayon")]
            threads: Threads::Shared,
        };
        &DEFAULT
    }

    #[cfg(feature = "rayon")]
    pub(crate) fn has_threads(&self) -> bool {
        match &self.threads {
            Threads::One => false,
            _ if pool::is_orphan() => false,
            Threads::Current => pool::current_is_usable(),
            Threads::Own(pool) => pool.is_usable(),
            Threads::Shared => pool::SHARED.is_usable(),
        }
    }

    /// Runs `work` inside of the pool.
    #[cfg(feature = "rayon")]
    pub(crate) fn install<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R {
        match &self.threads {
            Threads::One | Threads::Current => work(),
            Threads::Own(pool) => pool.install(work),
            Threads::Shared => pool::SHARED.install(work),
        }
    }
}

/// The environment variables, read once.
#[cfg(feature = "std")]
mod settings {
    use super::{Context, Isa};
    use std::io::Write;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[derive(Clone, Copy)]
    pub struct Settings {
        pub isa: Isa,
        #[cfg_attr(not(feature = "rayon"), allow(dead_code))]
        pub threads: Option<usize>,
    }

    /// Reads the variables once, without a lock: a child that is forked while another thread holds a lock would wait
    /// for it for ever.
    pub fn get() -> Settings {
        const ISAS: usize = Isa::ALL.len();
        /// 0 until the variables have been read, then 1 + (index of the instruction set) + ISAS * (number of threads,
        /// or 0 if it is not set).
        static SETTINGS: AtomicUsize = AtomicUsize::new(0);
        let decode = |code: usize| {
            let (isa, threads) = ((code - 1) % ISAS, (code - 1) / ISAS);
            Settings { isa: Isa::ALL[isa], threads: if threads == 0 { None } else { Some(threads) } }
        };
        let known = SETTINGS.load(Ordering::Relaxed);
        if known != 0 {
            return decode(known);
        }
        let isa = read("LOSSKIT_ISA", |value| Isa::from_name(value).map(Isa::capped));
        let threads = read("LOSSKIT_NUM_THREADS", |value| {
            value.parse().ok().filter(|threads| (1..=Context::MAX_THREADS).contains(threads))
        });
        let place = isa.unwrap_or(None).unwrap_or_else(Isa::best);
        let place = Isa::ALL.iter().position(|&other| other == place).unwrap_or(0);
        let code = 1 + place + ISAS * threads.unwrap_or(None).unwrap_or(0);
        match SETTINGS.compare_exchange(0, code, Ordering::Relaxed, Ordering::Relaxed) {
            Ok(_) => {
                complain("LOSSKIT_ISA", isa.is_err());
                complain("LOSSKIT_NUM_THREADS", threads.is_err());
                decode(code)
            }
            Err(other) => decode(other),
        }
    }

    /// `Err` for an invalid value.
    fn read<V>(name: &str, parse: impl Fn(&str) -> Option<V>) -> Result<Option<V>, ()> {
        let Some(value) = std::env::var_os(name) else { return Ok(None) };
        value.to_str().and_then(|value| parse(value.trim())).map(Some).ok_or(())
    }

    /// Writes one line to standard error, if there is one.
    fn complain(name: &str, is_wrong: bool) {
        if is_wrong {
            let value = std::env::var_os(name).unwrap_or_default();
            let line = format!("losskit: {name}={} ignored\n", value.to_string_lossy());
            let _ = standard_error().and_then(|mut error| error.write_all(line.as_bytes()));
        }
    }

    /// Standard error through a new file descriptor. Rust's own handle has a lock, which another thread may have held
    /// when this process was forked.
    #[cfg(unix)]
    fn standard_error() -> std::io::Result<impl Write> {
        use std::os::fd::AsFd;
        std::io::stderr().as_fd().try_clone_to_owned().map(std::fs::File::from)
    }
    #[cfg(not(unix))]
    fn standard_error() -> std::io::Result<impl Write> {
        Ok(std::io::stderr())
    }
}

/// Thread pools. Dropping a pool joins its threads. A forked child can neither use nor end a pool of its parent.
///
/// A child may inherit a pool that is only partly initialised: if another thread of its parent was starting the pool at
/// the time of the fork, a lock stays locked for ever in the child. Therefore each pool has an atomic number that
/// identifies the process which began to start it. A process checks this number first, and never touches a pool that
/// one of its ancestors began.
#[cfg(feature = "rayon")]
mod pool {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
    use std::thread::JoinHandle;

    use super::Context;
    use crate::fork;

    #[derive(Debug)]
    pub struct Pool {
        /// 0 means the number in the settings, or one thread for each core.
        threads: usize,
        started: OnceLock<Option<Started>>,
        owner: Owner,
    }

    #[derive(Debug)]
    struct Started {
        /// `Some` until the pool is dropped.
        pool: Option<rayon::ThreadPool>,
        workers: Vec<JoinHandle<()>>,
    }

    /// The process that creates an object. No other process may use the object.
    #[derive(Debug)]
    struct Owner(AtomicUsize);

    impl Owner {
        const fn nobody() -> Self {
            Owner(AtomicUsize::new(0))
        }

        /// Whether this process is the owner. If there is no owner yet, this process becomes the owner.
        fn is_this_process(&self) -> bool {
            let own = fork::process();
            match self.0.compare_exchange(0, own, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => true,
                Err(other) => other == own,
            }
        }
    }

    /// The pool of the process default.
    pub static SHARED: Pool = Pool::new(0);

    /// Whether the rayon pool that the caller runs in, or rayon's global one, has threads in this process.
    pub fn current_is_usable() -> bool {
        let is_alive = match rayon::current_thread_index() {
            // The caller is a worker that this process has started, so the pool has threads. (`is_orphan` has ruled out
            // that it is a worker of the parent process.)
            Some(_) => true,
            None => global_is_alive(),
        };
        is_alive && prepare() && rayon::current_num_threads() > 1
    }

    /// Whether rayon's global pool was started by this process, or can be.
    fn global_is_alive() -> bool {
        /// The process that was the first to use the pool through this crate.
        static USER: Owner = Owner::nobody();
        /// The child process that started the pool.
        static CHILD: AtomicUsize = AtomicUsize::new(0);
        if !USER.is_this_process() {
            return false;
        }
        if !fork::is_child() {
            return true;
        }
        // The parent may have used the pool without this crate. In that case the pool has no threads in this process
        // and cannot be started again. Otherwise it is started now, with rayon's own settings.
        let own = fork::process();
        if CHILD.load(Ordering::Acquire) != own {
            if !prepare() || rayon::ThreadPoolBuilder::new().build_global().is_err() {
                return false;
            }
            CHILD.store(own, Ordering::Release);
        }
        true
    }

    /// Whether the calling thread was the worker of a pool when it forked. If such a thread gave work to any pool, it
    /// would wait for ever for the other threads of its own pool, which do not exist in the child.
    pub fn is_orphan() -> bool {
        fork::is_forking_thread() && rayon::current_thread_index().is_some()
    }

    /// Initialises an object of the crossbeam crates that the workers of all pools share, and that contains a lock,
    /// before there is any worker. Returns false in a child that was forked while another thread was initialising it;
    /// such a child cannot have pools.
    fn prepare() -> bool {
        static MAKER: Owner = Owner::nobody();
        static IS_MADE: AtomicBool = AtomicBool::new(false);
        if !IS_MADE.load(Ordering::Acquire) {
            if !MAKER.is_this_process() {
                return false;
            }
            crossbeam_epoch::default_collector();
            IS_MADE.store(true, Ordering::Release);
        }
        true
    }

    impl Pool {
        pub const fn new(threads: usize) -> Self {
            Pool { threads, started: OnceLock::new(), owner: Owner::nobody() }
        }

        fn threads(&self) -> usize {
            let cores = || std::thread::available_parallelism().map_or(1, usize::from).min(Context::MAX_THREADS);
            let settings = || if std::ptr::eq(self, &SHARED) { super::settings::get().threads } else { None };
            if self.threads == 0 { settings().unwrap_or_else(cores) } else { self.threads }
        }

        /// Returns false if the pool has only one thread, if this process has inherited it, or if threads cannot be
        /// started.
        pub fn is_usable(&self) -> bool {
            self.owner.is_this_process() && self.started.get_or_init(|| Started::new(self.threads())).is_some()
        }

        pub fn install<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R {
            match self.started.get() {
                Some(Some(Started { pool: Some(pool), .. })) => pool.install(work),
                _ => work(),
            }
        }
    }

    impl Started {
        fn new(threads: usize) -> Option<Self> {
            if threads == 1 || !prepare() {
                return None;
            }
            let mut workers = Vec::new();
            let pool = rayon::ThreadPoolBuilder::new()
                .num_threads(threads)
                .spawn_handler(|worker| {
                    let name = format!("losskit-{}", worker.index());
                    workers.push(std::thread::Builder::new().name(name).spawn(|| worker.run())?);
                    Ok(())
                })
                .build()
                .ok()?;
            Some(Started { pool: Some(pool), workers })
        }
    }

    impl Drop for Pool {
        fn drop(&mut self) {
            let started = std::mem::take(&mut self.started);
            if !self.owner.is_this_process() {
                // A child does not clean up what it inherited. There are no threads to end, and their handles may
                // meanwhile denote threads of the child, which dropping would detach or join. If another thread held a
                // lock at the time of the fork, the lock cannot even be dropped.
                std::mem::forget(started);
            }
        }
    }

    impl Drop for Started {
        fn drop(&mut self) {
            // A pool that is dropped on one of its own threads cannot wait for that thread.
            let is_inside = self.pool.as_ref().is_some_and(|pool| pool.current_thread_index().is_some());
            drop(self.pool.take());
            if !is_inside {
                for worker in std::mem::take(&mut self.workers) {
                    let _ = worker.join();
                }
            }
        }
    }
}
