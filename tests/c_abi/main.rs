//! The C ABI, called as C calls it: every function of `include/losskit.h`, with good and with bad arguments.

mod abi;
mod agreement;
mod any_call;
mod bad_input;
mod contexts;
mod extremes;
mod functions;
mod gaps;
#[cfg(all(target_os = "linux", target_pointer_width = "64"))]
mod large;
mod linear;
mod report;
mod selective_log_softmax;
mod softmax_state;
#[cfg(all(target_os = "linux", target_pointer_width = "64"))]
mod stack;

/// What `fuzz/` does for as long as one likes, for some seconds: any call, made of a seeded generator's bytes.
#[test]
fn any_call_keeps_the_promises_of_the_header() {
    let guard = any_call::Guard { forbid: |_, _| (), permit: |_, _| () };
    let calls = if cfg!(debug_assertions) { 4_000 } else { 40_000 };
    for seed in 0..calls {
        let mut random = functions::Random(seed);
        let bytes: Vec<u8> = (0..48).flat_map(|_| random.bits().to_ne_bytes()).collect();
        any_call::run(&bytes, guard);
    }
}
