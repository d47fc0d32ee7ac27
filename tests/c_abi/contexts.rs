//! Contexts: threads and instruction sets, which change no bit.

use std::ptr;

use losskit::Isa;

use crate::abi::*;
use crate::functions::{Dims, Frame, function, functions};

struct Context(*mut lk_context);

// SAFETY: a context may be used by several threads at once
unsafe impl Sync for Context {}

impl Context {
    fn new(threads: usize, isa: i32) -> Self {
        let mut context = ptr::null_mut();
        // SAFETY: a place for a pointer
        let status = unsafe { lk_context_create(threads, isa, &mut context) };
        assert_eq!(status, LK_OK, "{}", last_error());
        assert!(!context.is_null());
        Context(context)
    }
    fn isa(&self) -> String {
        // SAFETY: alive
        unsafe { text(lk_isa_name(self.0)) }
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        // SAFETY: made by lk_context_create, and not used any more
        unsafe { lk_context_destroy(self.0) };
    }
}

const ISAS: [(i32, Isa); 4] =
    [(LK_ISA_SCALAR, Isa::Scalar), (LK_ISA_NEON, Isa::Neon), (LK_ISA_AVX2, Isa::Avx2), (LK_ISA_AVX512, Isa::Avx512)];

#[test]
fn instruction_sets_are_capped() {
    let default = losskit::Context::default().isa();
    assert_eq!(Context::new(1, LK_ISA_BEST).isa(), default.name());
    assert_eq!(Context::new(1, LK_ISA_SCALAR).isa(), "scalar");
    for (constant, isa) in ISAS {
        assert_eq!(Context::new(2, constant).isa(), losskit::Context::with_threads(2).cap_isa(isa).isa().name());
    }
}

#[test]
fn unknown_instruction_sets_and_bad_places_are_refused() {
    let untouched = ptr::without_provenance_mut::<lk_context>(48);
    let mut context = untouched;
    // SAFETY: refused, or a place for a pointer
    unsafe {
        for isa in [-1, 5, i32::MAX, i32::MIN] {
            assert_eq!(lk_context_create(1, isa, &mut context), LK_UNKNOWN_CONSTANT);
            let expected = "LK_ISA_BEST, LK_ISA_SCALAR, LK_ISA_NEON, LK_ISA_AVX2 or LK_ISA_AVX512";
            assert_eq!(last_error(), format!("isa is {isa}, must be {expected}"));
            assert_eq!(context, untouched);
        }
        assert_eq!(lk_context_create(1, LK_ISA_BEST, ptr::null_mut()), LK_NULL_POINTER);
        assert_eq!(last_error(), "new_context is null");
        assert_eq!(lk_context_create(1, LK_ISA_BEST, ptr::without_provenance_mut(12)), LK_MISALIGNED);
        assert_eq!(last_error(), "new_context is not aligned to 8 bytes");
        // does nothing
        lk_context_destroy(ptr::null_mut());
    }
}

#[test]
fn more_threads_than_the_limit_are_refused() {
    let untouched = ptr::without_provenance_mut::<lk_context>(48);
    let mut context = untouched;
    for threads in [LK_MAX_THREADS + 1, 1 << 16, isize::MAX as usize, usize::MAX] {
        // SAFETY: refused
        let status = unsafe { lk_context_create(threads, LK_ISA_BEST, &mut context) };
        assert_eq!(status, LK_TOO_MANY_THREADS, "{threads}");
        assert_eq!(last_error(), format!("{threads} threads are more than 4096"));
        assert_eq!(context, untouched);
    }
    assert_eq!(LK_MAX_THREADS, losskit::Context::MAX_THREADS);
    // none of which start
    drop(Context::new(LK_MAX_THREADS, LK_ISA_BEST));
}

/// Large enough that a call is shared between threads.
const LARGE: Dims = Dims::rows(3001, 67);

#[test]
fn no_context_changes_a_bit() {
    for function in functions::<f32>(LARGE, LK_I32).into_iter().chain(functions::<f64>(LARGE, LK_I32)) {
        let mut frame = Frame::new(&function, &LARGE, LK_I32);
        let before = frame.snapshot();
        assert_eq!(function.call(&frame), LK_OK, "{}", function.name);
        let expected = frame.snapshot();
        for (threads, isa) in
            [(1, LK_ISA_SCALAR), (1, LK_ISA_BEST), (2, LK_ISA_AVX2), (3, LK_ISA_BEST), (8, LK_ISA_BEST)]
        {
            let context = Context::new(threads, isa);
            for _ in 0..2 {
                frame.restore(&before);
                frame.ctx = context.0;
                assert_eq!(function.call(&frame), LK_OK, "{}", function.name);
                assert!(frame.snapshot() == expected, "{} with {threads} threads, {}", function.name, context.isa());
            }
        }
    }
}

#[test]
fn one_context_serves_many_threads_at_once() {
    let context = Context::new(2, LK_ISA_BEST);
    let once = |ctx: *const lk_context, name: &str| {
        let function = &function::<f32>(name, LARGE, LK_I32);
        let mut frame = Frame::new(function, &LARGE, LK_I32);
        frame.ctx = ctx;
        assert_eq!(function.call(&frame), LK_OK, "{}", function.name);
        frame.outputs_of(function)
    };
    let expected = ["mse", "cross_entropy", "nll", "td"].map(|name| (name, once(ptr::null(), name)));
    std::thread::scope(|scope| {
        for thread in 0..6 {
            let (context, expected) = (&context, &expected);
            scope.spawn(move || {
                for i in 0..6 {
                    let (name, expected) = &expected[(thread + i) % 4];
                    let ctx = if (thread + i) % 2 == 0 { context.0 } else { ptr::null_mut() };
                    assert!(once(ctx, name) == *expected, "{name} on thread {thread}");
                }
            });
        }
    });
}

#[test]
fn contexts_come_and_go_under_load() {
    let shared = Context::new(2, LK_ISA_BEST);
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let shared = &shared;
            scope.spawn(move || {
                let function = &function::<f32>("mse", LARGE, LK_I32);
                let mut frame = Frame::new(function, &LARGE, LK_I32);
                let before = frame.snapshot();
                assert_eq!(function.call(&frame), LK_OK);
                let expected = frame.snapshot();
                for i in 0..20 {
                    let own = Context::new(1 + (thread + i) % 4, LK_ISA_BEST);
                    for ctx in [own.0, shared.0] {
                        frame.restore(&before);
                        frame.ctx = ctx;
                        assert_eq!(function.call(&frame), LK_OK);
                        assert!(frame.snapshot() == expected);
                    }
                }
            });
        }
    });
}

/// What its worker threads were called; they are gone when lk_context_destroy returns.
#[cfg(target_os = "linux")]
#[test]
fn destroying_a_context_ends_its_threads() {
    // in a process of its own: other tests have pools too
    if std::env::var_os("LOSSKIT_TEST_ALONE").is_none() {
        let own = std::env::current_exe().expect("a test is a program");
        let output = std::process::Command::new(own)
            .args(["--exact", "contexts::destroying_a_context_ends_its_threads", "--test-threads=1"])
            .env("LOSSKIT_TEST_ALONE", "1")
            .output()
            .expect("it can be run again");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        return;
    }
    let workers = || {
        let tasks = std::fs::read_dir("/proc/self/task").expect("Linux has it");
        let names = tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok());
        names.filter(|name| name.starts_with("losskit-")).count()
    };
    let function = &function::<f32>("mse", LARGE, LK_I32);
    let mut frame = Frame::new(function, &LARGE, LK_I32);
    for round in 0..10 {
        let context = Context::new(3, LK_ISA_BEST);
        assert_eq!(workers(), 0, "no thread before it is needed, round {round}");
        frame.ctx = context.0;
        assert_eq!(function.call(&frame), LK_OK);
        // a thread that has not run yet has no name
        while workers() < 3 {
            std::thread::yield_now();
        }
        assert_eq!(workers(), 3, "round {round}");
        drop(context);
        assert_eq!(workers(), 0, "round {round}");
    }
    // one thread: never a pool
    let context = Context::new(1, LK_ISA_BEST);
    frame.ctx = context.0;
    assert_eq!(function.call(&frame), LK_OK);
    assert_eq!(workers(), 0);
    // small calls need none
    let small = Dims::rows(10, 100);
    let context = Context::new(3, LK_ISA_BEST);
    for function in functions::<f32>(small, LK_I32) {
        let mut frame = Frame::new(&function, &small, LK_I32);
        frame.ctx = context.0;
        assert_eq!(function.call(&frame), LK_OK);
        assert_eq!(workers(), 0, "{}", function.name);
    }
}
