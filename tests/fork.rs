//! Forked children: the same bits, no waiting for threads that the parent has, and contexts dropped in any order.
//! `tests/c/fork*` are the same from C and C++.
#![cfg(unix)]

use std::panic::{AssertUnwindSafe, catch_unwind};

use losskit::{Context, Mse, Options, Outputs};

/// Large enough that a call is shared between threads.
const N: usize = 1 << 19;

fn use_context(context: &Context) {
    let (input, target) = (vec![1.5f32; N], vec![1.0f32; N]);
    let (mut loss, mut grad) = ([0.0], vec![0.0; N]);
    let outputs = Outputs::new().loss(&mut loss).grad(&mut grad);
    Mse::new().eval(context, &input, &target, None, &Options::new(), outputs).unwrap();
    assert_eq!(loss, [0.25]);
    assert!(grad.iter().all(|&g| g == 1.0 / N as f32));
}

/// Forks happen in a process of its own for each test: what one uses, others would inherit.
fn alone(name: &str, test: impl FnOnce()) {
    if std::env::var_os("LOSSKIT_TEST_ALONE").is_some_and(|alone| alone == name) {
        return test();
    }
    let own = std::env::current_exe().expect("a test is a program");
    let output = std::process::Command::new(own)
        .args(["--exact", name, "--test-threads=1", "--nocapture"])
        .env("LOSSKIT_TEST_ALONE", name)
        .env("RAYON_NUM_THREADS", "3")
        .env_remove("LOSSKIT_NUM_THREADS")
        .output()
        .expect("it can be run again");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{}\n{stdout}{stderr}", output.status);
    assert!(stdout.contains("1 passed"), "{stdout}");
    assert_eq!(stderr, "", "nothing is said");
    stdout.lines().filter(|line| line.starts_with("skipped")).for_each(|line| eprintln!("{line}"));
}

const SECONDS: u32 = 60;

/// Runs `body` in a child, which must end by itself.
fn in_child(body: impl FnOnce()) {
    // SAFETY: the child goes on with the code of this thread alone
    let child = unsafe { libc::fork() };
    assert!(child >= 0);
    if child == 0 {
        // SAFETY: ends the child if it hangs
        unsafe { libc::alarm(SECONDS) };
        let is_right = catch_unwind(AssertUnwindSafe(body)).is_ok();
        // SAFETY: what the test program would do at its end is its own
        unsafe { libc::_exit(i32::from(!is_right)) };
    }
    let mut status = -1;
    // SAFETY: a child of this process
    assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
    assert_eq!(status, 0, "a signal if it is less than 128");
}

#[cfg(target_os = "linux")]
fn other_threads() -> usize {
    std::fs::read_dir("/proc/self/task").expect("Linux has it").count() - 1
}

#[test]
fn contexts_may_be_dropped_in_any_order() {
    alone("contexts_may_be_dropped_in_any_order", || {
        for threads in [4, 24] {
            let mut inherited = Some(Context::with_threads(threads));
            use_context(inherited.as_ref().unwrap());
            for inherited_first in [false, true] {
                in_child(|| {
                    let own = Context::with_threads(threads);
                    use_context(&own);
                    use_context(inherited.as_ref().unwrap());
                    if inherited_first {
                        drop(inherited.take());
                        use_context(&own);
                    }
                    in_child(|| {
                        drop(inherited.take());
                        let youngest = Context::with_threads(threads);
                        use_context(&youngest);
                        use_context(&own);
                    });
                    use_context(&own);
                    drop(own);
                    drop(inherited.take());
                    use_context(&Context::with_threads(2));
                });
            }
            use_context(inherited.as_ref().unwrap());
        }
    });
}

#[test]
fn the_default_context_does_not_wait_for_the_parents_threads() {
    alone("the_default_context_does_not_wait_for_the_parents_threads", || {
        let context = Context::default();
        use_context(&context);
        in_child(|| {
            use_context(&context);
            use_context(&Context::default());
            in_child(|| use_context(&Context::default()));
            // made here, so it has threads
            let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap();
            pool.install(|| use_context(&Context::default()));
            in_child(|| use_context(&Context::default()));
        });
        use_context(&context);
    });
}

/// Nothing of this crate has run before the fork.
#[test]
fn rayons_global_pool_may_be_inherited_without_a_call_of_this_crate() {
    alone("rayons_global_pool_may_be_inherited_without_a_call_of_this_crate", || {
        assert_eq!(rayon::join(|| 1, || 2), (1, 2));
        in_child(|| use_context(&Context::default()));
        use_context(&Context::default());
    });
}

#[cfg(target_os = "linux")]
#[test]
fn a_child_that_inherits_no_pool_has_threads() {
    alone("a_child_that_inherits_no_pool_has_threads", || {
        let (default, own) = (Context::default(), Context::with_threads(2));
        for _ in 0..2 {
            in_child(|| {
                assert_eq!(other_threads(), 0);
                use_context(&own);
                assert_eq!(other_threads(), 2);
                use_context(&default);
                assert_eq!(other_threads(), 5);
                in_child(|| {
                    use_context(&own);
                    use_context(&default);
                    assert_eq!(other_threads(), 0);
                });
                use_context(&default);
            });
        }
    });
}

/// In the child, that thread is a worker of a pool that has no other.
#[test]
fn a_pools_worker_may_fork() {
    alone("a_pools_worker_may_fork", || {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap();
        let inherited = Context::with_threads(2);
        use_context(&inherited);
        pool.install(|| {
            in_child(|| {
                use_context(&Context::default());
                use_context(&inherited);
                let own = Context::with_threads(2);
                use_context(&own);
                // other threads of the child have what they make
                std::thread::scope(|scope| {
                    scope.spawn(|| use_context(&own));
                });
            });
            use_context(&Context::default());
        });
    });
}

/// Process 1 of a namespace within a namespace, whose process 1 has started the threads.
#[cfg(target_os = "linux")]
#[test]
fn a_descendant_may_have_its_ancestors_number() {
    alone("a_descendant_may_have_its_ancestors_number", || {
        // SAFETY: the next children are in another namespace
        let may_unshare = || unsafe { libc::unshare(libc::CLONE_NEWPID) } == 0;
        // SAFETY: ends this process with its parent; an alarm does not end a process 1
        let end_with_parent = || unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
        in_child(|| {
            if !may_unshare() {
                return println!("skipped: a_descendant_may_have_its_ancestors_number: not permitted here");
            }
            in_child(|| {
                assert_eq!((std::process::id(), end_with_parent()), (1, 0));
                let (default, own) = (Context::default(), Context::with_threads(3));
                use_context(&default);
                use_context(&own);
                assert!(may_unshare());
                in_child(|| {
                    assert_eq!((std::process::id(), end_with_parent()), (1, 0));
                    use_context(&default);
                    use_context(&own);
                    use_context(&Context::with_threads(2));
                    drop(own);
                });
            });
        });
    });
}
