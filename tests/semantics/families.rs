//! Every width and kind of input within the last places promised: a thinned version of `examples/accuracy`.

use crate::common::Float;
use crate::common::call::Call;
use crate::common::families::{BINARY_FAMILIES, CLASS_FAMILIES, WIDTHS, Worst};
use crate::common::sums::Terms;
use losskit::Context;

fn check<T: Float>(call: &Call<T>, what: &str) {
    let worst = Worst::of(call, &Context::with_threads(1));
    assert!(worst.is_within_bounds(), "{} {what}: {worst:?}, not {:?}", call.name, Worst::BOUND);
}

fn rows<T: Float>(classes: usize) {
    for family in &CLASS_FAMILIES {
        let rows = (10_000 / classes).clamp(1, 1000);
        check(&family.rows::<T>(classes, rows, 1), &format!("{rows} x {classes}"));
    }
}

#[test]
fn rows_of_up_to_32000_classes_of_all_kinds() {
    for classes in WIDTHS.into_iter().filter(|&classes| classes <= 32_000) {
        rows::<f32>(classes);
        rows::<f64>(classes);
    }
}

/// One row of each kind.
#[test]
fn rows_of_128256_float32_classes_of_all_kinds() {
    rows::<f32>(128_256);
}

#[test]
fn rows_of_128256_float64_classes_of_all_kinds() {
    rows::<f64>(128_256);
}

#[test]
fn pointwise_losses_on_inputs_of_all_kinds() {
    for family in &BINARY_FAMILIES {
        family.pointwise::<f32>(8000, 1).iter().for_each(|call| check(call, family.name));
        family.pointwise::<f64>(8000, 1).iter().for_each(|call| check(call, family.name));
    }
}

/// 1 ULP of the sum of magnitudes.
#[test]
fn sums_and_means_of_up_to_2_to_the_20_terms() {
    let context = Context::with_threads(1);
    for terms in Terms::ALL {
        for n in [1, 1000, (1 << 16) + 1, (1 << 20) - 1] {
            for errors in [terms.errors::<f32>(n, &context), terms.errors::<f64>(n, &context)] {
                assert!(errors.into_iter().all(|off| off <= 1.0), "{} n={n}: off by {errors:?} ULP", terms.name());
            }
        }
    }
}
