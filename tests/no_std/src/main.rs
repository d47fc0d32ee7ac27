//! Cross-entropy without the standard library; see Cargo.toml.
#![no_std]
#![no_main]

use losskit::{ClassShape, Context, CrossEntropy, Huber, Isa, Targets};

// Only for crt0, which calls `main` and exits with what it returns.
#[link(name = "c")]
unsafe extern "C" {}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

/// core is compiled to unwind, which asks for this name; nothing unwinds with panic = "abort".
#[unsafe(no_mangle)]
extern "C" fn rust_eh_personality() {}

fn losses() -> Result<bool, losskit::Error> {
    let (logits, mut grad) = ([2.0f32, 1.0, 0.1, 0.5, 2.5, 0.0], [0.0; 6]);
    let targets = Targets::I32(&[0, 1]);
    let loss = CrossEntropy::new().mean_with_grad(ClassShape::rows(2, 3), &logits, targets, &mut grad)?;
    let is_right = (loss - 0.3069).abs() < 5e-5 && (grad[0] + 0.1705).abs() < 5e-5;
    let huber = Huber::new(1.0).mean(&[0.5f64, 3.0], &[0.0, 0.0])?;
    Ok(is_right && huber == (0.125 + 2.5) / 2.0 && Context::default().isa() == Isa::best())
}

#[unsafe(no_mangle)]
extern "C" fn main() -> i32 {
    match losses() {
        Ok(true) => 0,
        Ok(false) => 1,
        Err(_) => 2,
    }
}
