//! Sums and means of up to many millions of losses.

use losskit::Context;

use crate::common::sums::Terms;

/// The bound, in units in the last place of the sum of magnitudes.
const BOUND: f64 = 1.0;

pub fn table(contexts: &[Context], largest: u32) -> (String, bool) {
    let mut powers: Vec<u32> = (10..largest).step_by(4).collect();
    powers.push(largest);
    let mut text = String::from("| terms | n | f32: sum / mean | f64: sum / mean |\n|---|--:|--:|--:|\n");
    let mut broken = false;
    for terms in Terms::ALL {
        for &power in &powers {
            // one less and one more have other tails
            let sizes = [(1usize << power) - 1, 1 << power, (1 << power) + 1];
            let worst = |errors: &dyn Fn(usize) -> [f64; 2]| {
                let all = sizes.map(errors);
                [0, 1].map(|which| all.iter().map(|errors| errors[which]).fold(0.0, f64::max))
            };
            let [sum, mean] = worst(&|n| terms.errors::<f32>(n, &contexts[0]));
            let [sum_64, mean_64] = worst(&|n| terms.errors::<f64>(n, &contexts[0]));
            text += &format!("| {} | 2^{power} | {sum:.3} / {mean:.3} | {sum_64:.3} / {mean_64:.3} |\n", terms.name());
            broken |= [sum, mean, sum_64, mean_64].iter().any(|&off| off > BOUND);
        }
    }
    (text, broken)
}
