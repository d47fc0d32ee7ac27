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
    isa: Isa,
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
    Shared(&'static pool::Pool),
}

impl Default for Context {
    fn default() -> Self {
        Context {
            isa: default_isa(),
            #[cfg(feature = "rayon")]
            threads: match settings::get().threads {
                None => Threads::Current,
                Some(1) => Threads::One,
                Some(_) => Threads::Shared(pool::shared()),
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
    /// As many threads as said, in a pool that starts when it is first needed and ends, its threads
    /// joined, with the context. 1 never starts a thread; 0 means one for each core.
    ///
    /// Without feature `rayon` the number is ignored.
    pub fn with_threads(threads: usize) -> Self {
        let _ = threads;
        Context {
            isa: default_isa(),
            #[cfg(feature = "rayon")]
            threads: if threads == 1 { Threads::One } else { Threads::Own(pool::Pool::new(threads)) },
        }
    }

    /// Use no instruction set beyond `isa`.
    pub fn cap_isa(mut self, isa: Isa) -> Self {
        let (cap, own) = (isa.capped(), self.isa);
        let rank = |isa| Isa::ALL.iter().position(|&i| i == isa);
        self.isa = if rank(cap) < rank(own) { cap } else { own };
        self
    }

    /// Exactly this instruction set.
    #[cfg(test)]
    pub(crate) fn with_isa(isa: Isa) -> Self {
        Context { isa, ..Context::with_threads(1) }
    }

    /// The instruction set that kernels run on.
    pub fn isa(&self) -> Isa {
        self.isa
    }

    /// The process default of C callers: as [`Context::default`], but never in somebody else's pool.
    #[cfg(feature = "capi")]
    pub(crate) fn process_default() -> &'static Context {
        static DEFAULT: std::sync::OnceLock<Context> = std::sync::OnceLock::new();
        DEFAULT.get_or_init(|| Context {
            isa: default_isa(),
            #[cfg(feature = "rayon")]
            threads: if settings::get().threads == Some(1) { Threads::One } else { Threads::Shared(pool::shared()) },
        })
    }

    #[cfg(feature = "rayon")]
    pub(crate) fn has_threads(&self) -> bool {
        match &self.threads {
            Threads::One => false,
            Threads::Current => !pool::forked_with_threads() && rayon::current_num_threads() > 1,
            Threads::Own(pool) => pool.is_usable(),
            Threads::Shared(pool) => pool.is_usable(),
        }
    }

    /// Runs `work` inside of the pool.
    #[cfg(feature = "rayon")]
    pub(crate) fn install<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R {
        match &self.threads {
            Threads::One | Threads::Current => work(),
            Threads::Own(pool) => pool.install(work),
            Threads::Shared(pool) => pool.install(work),
        }
    }
}

/// The environment variables, read once.
#[cfg(feature = "std")]
mod settings {
    use super::Isa;
    use std::sync::OnceLock;

    pub struct Settings {
        pub isa: Isa,
        #[cfg_attr(not(feature = "rayon"), allow(dead_code))]
        pub threads: Option<usize>,
    }

    pub fn get() -> &'static Settings {
        static SETTINGS: OnceLock<Settings> = OnceLock::new();
        SETTINGS.get_or_init(|| Settings {
            isa: read("LOSSKIT_ISA", |value| Isa::from_name(value).map(Isa::capped)).unwrap_or_else(Isa::best),
            threads: read("LOSSKIT_NUM_THREADS", |value| value.parse().ok().filter(|&threads| threads > 0)),
        })
    }

    /// A value that makes no sense is ignored, with one line saying so.
    fn read<V>(name: &str, parse: impl Fn(&str) -> Option<V>) -> Option<V> {
        let value = std::env::var_os(name)?;
        let parsed = value.to_str().and_then(|value| parse(value.trim()));
        if parsed.is_none() {
            eprintln!("losskit: {name}={} ignored", value.to_string_lossy());
        }
        parsed
    }
}

/// Thread pools that join their threads when dropped and that survive fork().
#[cfg(feature = "rayon")]
mod pool {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::{Mutex, Once, OnceLock};
    use std::thread::JoinHandle;

    #[derive(Debug)]
    pub struct Pool {
        threads: usize,
        started: OnceLock<Option<Started>>,
        /// The forks that this process came from when the pool was made.
        forks: usize,
    }

    #[derive(Debug)]
    struct Started {
        /// Some until dropped.
        pool: Option<rayon::ThreadPool>,
        workers: Mutex<Vec<JoinHandle<()>>>,
        forks: usize,
    }

    /// How many times a process that used this library has forked on the way to this one.
    static FORKS: AtomicUsize = AtomicUsize::new(0);

    fn watch_forks() {
        static WATCH: Once = Once::new();
        WATCH.call_once(|| {
            #[cfg(unix)]
            {
                extern "C" fn in_child() {
                    FORKS.fetch_add(1, Ordering::Relaxed);
                }
                fork_hook::register(in_child);
            }
        });
    }

    #[cfg(unix)]
    use crate::simd::fork_hook;

    /// Whether this process was forked after threads were in use: rayon's global pool has no threads here.
    pub fn forked_with_threads() -> bool {
        watch_forks();
        FORKS.load(Ordering::Relaxed) > 0
    }

    /// The pool of the process default.
    pub fn shared() -> &'static Pool {
        static SHARED: OnceLock<Pool> = OnceLock::new();
        SHARED.get_or_init(|| Pool::new(super::settings::get().threads.unwrap_or(0)))
    }

    impl Pool {
        pub fn new(threads: usize) -> Self {
            watch_forks();
            let cores = || std::thread::available_parallelism().map_or(1, usize::from);
            Pool {
                threads: if threads == 0 { cores() } else { threads },
                started: OnceLock::new(),
                forks: FORKS.load(Ordering::Relaxed),
            }
        }

        /// False with one thread, in a forked child, and where threads cannot be started.
        pub fn is_usable(&self) -> bool {
            self.threads > 1
                && FORKS.load(Ordering::Relaxed) == self.forks
                && self.started.get_or_init(|| Started::new(self.threads)).is_some()
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
            let forks = FORKS.load(Ordering::Relaxed);
            Some(Started { pool: Some(pool), workers: Mutex::new(workers), forks })
        }
    }

    impl Drop for Started {
        fn drop(&mut self) {
            let Some(pool) = self.pool.take() else { return };
            // In a forked child there are no threads to end; their state is left as it is.
            if FORKS.load(Ordering::Relaxed) != self.forks {
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
