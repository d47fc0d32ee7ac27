//! The same bits everywhere: whatever the instruction set, the threads, and the caller's floating-point state.
//!
//! `same_bits.txt` has the digests of a broad workload. `LOSSKIT_BLESS=1` writes it anew, for a change that is
//! meant to change bits. `LOSSKIT_EXPECT_ISA` names the instruction set that must be the one dispatched: so
//! emulators can not pass by running another (see tests/isa/).

mod workload;

use losskit::{Context, Isa};

const RECORDED: &str = include_str!("same_bits.txt");

fn check(digests: Vec<(String, u64)>, what: &str) {
    let text = workload::text(digests, RECORDED);
    if std::env::var_os("LOSSKIT_BLESS").is_some() && what == "scalar" {
        std::fs::write(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/same_bits.txt"), &text).expect("tests/ is writable");
        return;
    }
    assert_eq!(text, RECORDED, "{what} gives other bits than those recorded");
}

#[test]
fn the_instruction_set_expected_is_the_one_dispatched() {
    if let Ok(expected) = std::env::var("LOSSKIT_EXPECT_ISA") {
        assert_eq!(Context::default().isa().name(), expected);
    }
}

#[test]
fn bits_do_not_depend_on_the_instruction_set() {
    // an emulator, slow as it is, is there for the one that is expected
    let expected = std::env::var("LOSSKIT_EXPECT_ISA").ok();
    let is_wanted = |isa: &Isa| isa.is_available() && expected.as_ref().is_none_or(|name| name == isa.name());
    for isa in Isa::ALL.into_iter().filter(is_wanted) {
        let context = Context::with_threads(1).cap_isa(isa);
        assert_eq!(context.isa(), isa);
        check(workload::digests(&context), isa.name());
    }
}

#[test]
fn bits_do_not_depend_on_threads() {
    for threads in [2, 3, 8] {
        check(workload::digests(&Context::with_threads(threads)), &format!("{threads} threads"));
    }
}

/// Flush-to-zero, denormals-are-zero and another rounding direction, as a library linked with -Ofast or
/// PyTorch's flush-denormal switch leave behind.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
#[test]
fn bits_do_not_depend_on_the_callers_floating_point_state() {
    thread_local!(static FOUND: std::cell::Cell<u64> = std::cell::Cell::new(state::read()));
    let context = Context::with_threads(2);
    let digests = workload::digests_in(&workload::Setting {
        context: &context,
        // threads that start in a call inherit what it runs in
        around: |before| {
            let after = state::read();
            let found = FOUND.get();
            state::write(if before { state::SPOILT } else { found });
            let kept = after & state::CONTROL == state::SPOILT & state::CONTROL;
            assert!(before || kept, "the caller's state was not put back");
        },
    });
    check(digests, "a spoilt floating-point state");
}

#[cfg(target_arch = "x86_64")]
mod state {
    /// Flush to zero, round up, denormals are zero; exceptions masked.
    pub const SPOILT: u64 = 0x8000 | 0x4000 | 0x1f80 | 0x0040;
    /// All but the exception flags.
    pub const CONTROL: u64 = 0xffc0;

    pub fn read() -> u64 {
        let mut mxcsr = 0u32;
        // SAFETY: stores the control register to a place of its size
        unsafe { std::arch::asm!("stmxcsr [{}]", in(reg) &raw mut mxcsr, options(nostack, preserves_flags)) };
        u64::from(mxcsr)
    }
    pub fn write(value: u64) {
        let mxcsr = value as u32;
        // SAFETY: defined bits only; the test puts back what it found
        unsafe { std::arch::asm!("ldmxcsr [{}]", in(reg) &raw const mxcsr, options(nostack, preserves_flags)) };
    }
}

#[cfg(target_arch = "aarch64")]
mod state {
    /// Flush to zero, round towards plus infinity.
    pub const SPOILT: u64 = 1 << 24 | 1 << 22;
    pub const CONTROL: u64 = u64::MAX;

    pub fn read() -> u64 {
        let fpcr: u64;
        // SAFETY: reads the control register
        unsafe { std::arch::asm!("mrs {}, fpcr", out(reg) fpcr, options(nomem, nostack, preserves_flags)) };
        fpcr
    }
    pub fn write(value: u64) {
        // SAFETY: defined bits only; the test puts back what it found
        unsafe { std::arch::asm!("msr fpcr, {}", in(reg) value, options(nostack, preserves_flags)) };
    }
}
