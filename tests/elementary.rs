//! exp, log and log1p within 1 ULP, on every instruction set: a thinned version of `examples/accuracy.rs`, which
//! takes all 2^32 inputs of float32.

use losskit::{ElementaryFunction, Isa};

/// Beyond the smallest normal number the unit is that number's.
fn ulp(exact: f64) -> f64 {
    let exponent = (exact.abs().to_bits() >> 52) as i32 - 1023;
    2f64.powi(exponent.max(-126) - 23)
}

/// The C library's double precision, whose error is below 2^-28 of a float32's last place.
fn reference(function: ElementaryFunction, x: f64) -> f64 {
    match function {
        ElementaryFunction::Exp | ElementaryFunction::ExpNonPositive => x.exp(),
        ElementaryFunction::Log => x.ln(),
        ElementaryFunction::Log1p => x.ln_1p(),
    }
}

fn check(function: ElementaryFunction, isa: Isa, bits: impl Iterator<Item = u32>) {
    let takes = |x: &f32| function != ElementaryFunction::ExpNonPositive || *x <= 0.0 || x.is_nan();
    let inputs: Vec<f32> = bits.map(f32::from_bits).filter(takes).collect();
    let mut outputs = vec![0.0; inputs.len()];
    function.evaluate(isa, &inputs, &mut outputs);
    for (&x, &got) in inputs.iter().zip(&outputs) {
        let exact = reference(function, f64::from(x));
        let what = format!("{function:?} of {x:e} on {}: {got:e}, not {exact:e}", isa.name());
        if exact.is_nan() {
            assert!(got.is_nan(), "{what}");
        } else if (exact as f32).is_infinite() || exact == 0.0 {
            assert_eq!(got, exact as f32, "{what}");
        } else {
            assert!((f64::from(got) - exact).abs() <= ulp(exact), "{what}");
        }
    }
}

fn everywhere(bits: impl Iterator<Item = u32> + Clone) {
    for isa in Isa::ALL.into_iter().filter(|isa| isa.is_available()) {
        for function in ElementaryFunction::ALL {
            check(function, isa, bits.clone());
        }
    }
}

#[test]
fn every_1021st_float32_is_within_1_ulp() {
    everywhere((0..u32::MAX).step_by(1021));
}

/// Zeros, the ends of subnormals, normals and results, where arguments are split, 1 and -1, infinities, NaNs.
#[test]
fn float32s_around_special_values_and_breakpoints_are_within_1_ulp() {
    let places = [
        0.0,
        f32::MIN_POSITIVE,
        1e-10,
        0.25,
        std::f32::consts::LN_2 / 2.0,
        std::f32::consts::SQRT_2 - 1.0,
        0.5,
        std::f32::consts::FRAC_1_SQRT_2,
        1.0,
        std::f32::consts::SQRT_2,
        2.0,
        87.336_54,
        88.722_84,
        103.972_08,
        104.0,
        131.0,
        1e15,
        f32::MAX,
    ];
    let signs = places.into_iter().flat_map(|x| [x, -x]);
    let around = |x: f32| x.to_bits().saturating_sub(2000)..=x.to_bits().saturating_add(2000);
    everywhere(signs.flat_map(around).chain([0x7f80_0000, 0xff80_0000, 0x7fc0_0000, 0xffc0_0001, 0x7f80_0001]));
}

/// Half of the breakpoints lie between powers of two: all mantissas of some binades.
#[test]
fn every_float32_from_a_quarter_to_one_is_within_1_ulp_as_log1p_on_the_best_instruction_set() {
    check(ElementaryFunction::Log1p, Isa::best(), 0.25f32.to_bits()..1f32.to_bits());
}

/// To what one more ULP in either allows.
#[test]
fn float64_log_and_exp_invert_each_other_and_agree_with_the_c_library() {
    let x: Vec<f64> = (1..40_000).map(|i| f64::from(i) / 811.0).collect();
    for isa in Isa::ALL.into_iter().filter(|isa| isa.is_available()) {
        let (mut log, mut back) = (vec![0.0; x.len()], vec![0.0; x.len()]);
        ElementaryFunction::Log.evaluate(isa, &x, &mut log);
        ElementaryFunction::Exp.evaluate(isa, &log, &mut back);
        for ((&x, &log), &back) in x.iter().zip(&log).zip(&back) {
            // 1 ULP of the logarithm is that much of x, relatively; exp adds its own
            let bound = x * f64::EPSILON * (1.0 + log.abs().max(1.0));
            assert!((x - back).abs() <= bound, "{x}: {back}");
            assert!((log - x.ln()).abs() <= 2.0 * f64::EPSILON * log.abs(), "{x}: {log}");
        }
    }
}
