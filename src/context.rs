//! Threads and instruction set.

use crate::simd::Isa;

/// Threads and instruction set of a call.
///
/// `Context::default()` takes the best instruction set and, with feature `rayon`, the caller's current
/// rayon pool. The environment variable `LOSSKIT_ISA` (`scalar`, `avx2`, `avx512`, `neon`) caps its
/// instruction set; `LOSSKIT_NUM_THREADS` gives it a pool of its own of that size. Neither changes a
/// bit of any result, and small inputs touch no other thread.
///
/// ```
/// use losskit::{Context, Isa};
/// let quiet = Context::with_threads(1);               // never starts a thread
/// let plain = Context::with_threads(2).cap_isa(Isa::Scalar);
/// assert_eq!(plain.isa(), Isa::Scalar);
/// ```
#[derive(Debug)]
pub struct Context {
    /// None: the process default's.
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
    /// The most threads of a context: [`Context::with_threads`] takes a larger number for this one, and
    /// `LOSSKIT_NUM_THREADS` may not exceed it.
    pub const MAX_THREADS: usize = 4096;

    /// As many threads as said, [`MAX_THREADS`](Context::MAX_THREADS) at most, in a pool that starts when it is first
    /// needed and ends, its threads joined, with the context. 1 never starts a thread; 0 means one for each core. Where
    /// the system refuses to start so many, the caller's thread does all the work.
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

    /// Use no instruction set beyond `isa`.
    pub fn cap_isa(mut self, isa: Isa) -> Self {
        let (cap, own) = (isa.capped(), self.isa());
        let rank = |isa| Isa::ALL.iter().position(|&i| i == isa);
        self.isa = Some(if rank(cap) < rank(own) { cap } else { own });
        self
    }

    /// Exactly this instruction set.
    #[cfg(feature = "widths")]
    #[doc(hidden)]
    pub fn with_isa(isa: Isa) -> Self {
        Context { isa: Some(isa), ..Context::with_threads(1) }
    }

    /// The instruction set that kernels run on.
    pub fn isa(&self) -> Isa {
        self.isa.unwrap_or_else(default_isa)
    }

    /// The process default of C callers: as [`Context::default`], but never in somebody else's pool.
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
            Threads::Current => !pool::forked() && rayon::current_num_threads() > 1,
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

    /// Read once. Without a lock: a child forked while another thread holds it would wait for ever.
    pub fn get() -> Settings {
        const ISAS: usize = Isa::ALL.len();
        /// 1 + the place of the instruction set + ISAS times the threads, 0 for none set; 0: not read yet.
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

    /// Err for a value that makes no sense.
    fn read<V>(name: &str, parse: impl Fn(&str) -> Option<V>) -> Result<Option<V>, ()> {
        let Some(value) = std::env::var_os(name) else { return Ok(None) };
        value.to_str().and_then(|value| parse(value.trim())).map(Some).ok_or(())
    }

    /// One line, if there is anywhere for it to go.
    fn complain(name: &str, is_wrong: bool) {
        if is_wrong {
            let value = std::env::var_os(name).unwrap_or_default();
            let _ = writeln!(std::io::stderr(), "losskit: {name}={} ignored", value.to_string_lossy());
        }
    }
}

/// Thread pools that join their threads when dropped and that survive fork().
#[cfg(feature = "rayon")]
mod pool {
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::sync::{Mutex, OnceLock};
    use std::thread::JoinHandle;

    #[derive(Debug)]
    pub struct Pool {
        /// 0: as the settings say, or one for each core.
        threads: usize,
        started: OnceLock<Option<Started>>,
        /// The process that starts it. A forked child looks here first: what it inherits may be half made.
        owner: AtomicU32,
    }

    #[derive(Debug)]
    struct Started {
        /// Some until dropped.
        pool: Option<rayon::ThreadPool>,
        workers: Mutex<Vec<JoinHandle<()>>>,
        owner: u32,
    }

    /// The pool of the process default.
    pub static SHARED: Pool = Pool::new(0);

    /// Whether this process has the number `owner` holds, which is its own if it had none.
    fn is_owner(owner: &AtomicU32) -> bool {
        let own = std::process::id();
        owner.compare_exchange(0, own, Ordering::Relaxed, Ordering::Relaxed).is_ok()
            || owner.load(Ordering::Relaxed) == own
    }

    /// Whether this process was forked after threads were in use: rayon's global pool has no threads here.
    pub fn forked() -> bool {
        static FIRST: AtomicU32 = AtomicU32::new(0);
        !is_owner(&FIRST)
    }

    impl Pool {
        pub const fn new(threads: usize) -> Self {
            Pool { threads, started: OnceLock::new(), owner: AtomicU32::new(0) }
        }

        fn threads(&self) -> usize {
            let cores = || std::thread::available_parallelism().map_or(1, usize::from).min(super::Context::MAX_THREADS);
            let settings = || if std::ptr::eq(self, &SHARED) { super::settings::get().threads } else { None };
            if self.threads == 0 { settings().unwrap_or_else(cores) } else { self.threads }
        }

        /// False with one thread, in a forked child, and where threads cannot be started.
        pub fn is_usable(&self) -> bool {
            is_owner(&self.owner) && self.started.get_or_init(|| Started::new(self.threads())).is_some()
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
            if threads == 1 {
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
            Some(Started { pool: Some(pool), workers: Mutex::new(workers), owner: std::process::id() })
        }
    }

    impl Drop for Started {
        fn drop(&mut self) {
            let Some(pool) = self.pool.take() else { return };
            // In a forked child there are no threads to end; their state is left as it is.
            if std::process::id() != self.owner {
                std::mem::forget(pool);
                return;
            }
            // Dropped on one of its own threads, a pool cannot wait for it.
            let inside = pool.current_thread_index().is_some();
            drop(pool);
            if !inside {
                for worker in self.workers.get_mut().map(std::mem::take).unwrap_or_default() {
                    let _ = worker.join();
                }
            }
        }
    }
}
