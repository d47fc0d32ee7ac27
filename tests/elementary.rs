//! exp, log and log1p within 1 ULP, tanh within 2 and its derivative within 4, on every instruction set: a thinned version
//! of `examples/accuracy`, which takes all 2^32 inputs of float32, and many millions of float64.

mod common;

use common::breakpoints::{around_float64, random_float64};
use common::exact::Exact;
use common::{Random, assert_same_bits, ulps_off_even_if_tiny};
use losskit::{ElementaryFunction, Isa, soft_fma};

/// Beyond the smallest normal number the unit is that number's.
fn ulp(exact: f64) -> f64 {
    let exponent = (exact.abs().to_bits() >> 52) as i32 - 1023;
    2f64.powi(exponent.max(-126) - 23)
}

fn bound(function: ElementaryFunction) -> f64 {
    match function {
        ElementaryFunction::Tanh => 2.0,
        ElementaryFunction::TanhDerivative => 4.0,
        _ => 1.0,
    }
}

/// The C library's double precision, whose error is below 2^-28 of a float32's last place.
fn reference(function: ElementaryFunction, x: f64) -> f64 {
    match function {
        ElementaryFunction::Exp | ElementaryFunction::ExpNonPositive => x.exp(),
        ElementaryFunction::Log => x.ln(),
        ElementaryFunction::Log1p => x.ln_1p(),
        ElementaryFunction::Tanh => x.tanh(),
        ElementaryFunction::TanhDerivative => x.cosh().powi(-2),
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
            assert!((f64::from(got) - exact).abs() <= bound(function) * ulp(exact), "{what}");
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
fn every_1021st_float32_is_within_bounds() {
    everywhere((0..u32::MAX).step_by(1021));
}

/// Zeros, the ends of subnormals, normals and results, where arguments are split, 1 and -1, infinities, NaNs.
#[test]
fn float32s_around_special_values_and_breakpoints_are_within_bounds() {
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

/// Every 31st number next to a breakpoint, of which there are two million, and some random ones.
#[test]
fn float64s_around_breakpoints_are_within_bounds() {
    let random = &mut Random(1);
    let sample = (0..20_000).map(|i| random_float64(random, i));
    let places: Vec<f64> = around_float64().step_by(31).chain(sample).collect();
    for function in ElementaryFunction::ALL {
        let only_non_positive = function == ElementaryFunction::ExpNonPositive;
        let inputs: Vec<f64> = places.iter().map(|&x| if only_non_positive { -x.abs() } else { x }).collect();
        let mut outputs = vec![0.0; inputs.len()];
        for (at, isa) in Isa::ALL.into_iter().filter(|isa| isa.is_available()).enumerate() {
            let mut these = vec![0.0; inputs.len()];
            function.evaluate(isa, &inputs, &mut these);
            if at > 0 {
                assert_same_bits(&these, &outputs, &format!("{function:?} on {}", isa.name()));
            }
            outputs = these;
        }
        for (&x, &got) in inputs.iter().zip(&outputs) {
            let x_exact = Exact::of(x);
            let off = ulps_off_even_if_tiny(got, |lift| match function {
                ElementaryFunction::Exp | ElementaryFunction::ExpNonPositive => x_exact.exp_scaled(lift),
                ElementaryFunction::Log => x_exact.ln().scaled(lift),
                ElementaryFunction::Log1p => x_exact.ln_1p().scaled(lift),
                ElementaryFunction::Tanh => x_exact.tanh_scaled(lift),
                ElementaryFunction::TanhDerivative => x_exact.tanh_derivative_scaled(lift),
            });
            assert!(off <= bound(function), "{function:?} of {x:e}: {got:e} is off by {off} ULP");
        }
    }
}

/// As `CrossEntropy::soft_cap` makes them: a quotient, a tangent, a product.
#[test]
fn bounded_logits_are_within_3_ulp() {
    for cap in [30.0f32, 50.0, 5.0, 1.7, 127.99] {
        let inputs: Vec<f32> = (0..u32::MAX).step_by(1021).map(f32::from_bits).filter(|x| x.is_finite()).collect();
        let shares: Vec<f32> = inputs.iter().map(|x| x / cap).collect();
        let mut outputs = vec![0.0; inputs.len()];
        ElementaryFunction::Tanh.evaluate(Isa::best(), &shares, &mut outputs);
        for (&x, &tanh) in inputs.iter().zip(&outputs) {
            let (got, exact) = (f64::from(cap * tanh), f64::from(cap) * (f64::from(x) / f64::from(cap)).tanh());
            // what is lost to subnormal quotients is as much as the cap is large
            if x.abs() > f32::MIN_POSITIVE * cap {
                let off = (got - exact).abs() / ulp(exact);
                assert!(off <= 3.0, "{x:e} within {cap}: {got:e}, not {exact:e}, {off} off");
            }
        }
    }
}

/// On CPUs without the instruction, against the platform's.
#[test]
fn soft_fma_rounds_once() {
    // the case that libm's fmaf rounds twice
    assert_eq!(soft_fma(1.0, f32::from_bits(0x0040_0000), 1e-45), f32::from_bits(0x0040_0001));
    let mut random = Random(1);
    let mut any = || f32::from_bits(random.bits() as u32);
    for _ in 0..200_000 {
        let (a, b, c) = (any(), any(), any());
        let (got, expected) = (soft_fma(a, b, c), a.mul_add(b, c));
        assert!(got.to_bits() == expected.to_bits() || (got.is_nan() && expected.is_nan()), "{a:e} {b:e} {c:e}");
    }
    for (a, b, c) in [(f32::INFINITY, 0.0, 1.0), (f32::MAX, 2.0, f32::NEG_INFINITY), (0.0, -1.0, 0.0)] {
        let (got, expected) = (soft_fma(a, b, c), a.mul_add(b, c));
        assert!(got.to_bits() == expected.to_bits() || (got.is_nan() && expected.is_nan()));
    }
}
