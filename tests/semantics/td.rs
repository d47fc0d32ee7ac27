//! Q-learning's target: what is read, what is chosen, where gradients go.

use crate::common::{Float, Random, all_of, bits};
use losskit::{Context, Cost, Indices, Options, Outputs, Reduction, Td, TdInputs};

const NAN: f64 = f64::NAN;
const INF: f64 = f64::INFINITY;

fn context() -> Context {
    Context::with_threads(1)
}

/// The temporal differences, target less q.
fn errors<T: Float>(td: Td, inputs: &TdInputs<'_, T>, rows: usize) -> Vec<f64> {
    let mut errors = all_of::<T>(&vec![9.0; rows]);
    td.eval(&context(), inputs, &Options::new(), Outputs::new(), Some(&mut errors)).unwrap();
    errors.iter().map(|x| x.wide()).collect()
}

fn bellman<T: Float>() {
    // three rows of two actions
    let q = all_of::<T>(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    let next_q = all_of::<T>(&[0.5, -1.0, NAN, NAN, -2.0, -4.0]);
    let reward = all_of::<T>(&[1.0, 2.0, 8.0]);
    let inputs = TdInputs::new(2, &q, Indices::I32(&[1, 0, 0]), &reward, &next_q).done(&[0, 200, 0]);
    // 1 + 0.5/2, 2, 8 - 2/2
    assert_eq!(errors(Td::mse(0.5), &inputs, 3), [1.25 - 2.0, 2.0 - 3.0, 7.0 - 5.0]);
    let (mut loss, mut grad, mut hess, mut cost) = (all_of::<T>(&[0.0; 3]), q.clone(), q.clone(), Cost::new());
    let outputs = Outputs::new().loss(&mut loss).grad(&mut grad).hess(&mut hess).cost(&mut cost);
    let options = Options::new().reduction(Reduction::None);
    Td::mse(0.5).eval(&context(), &inputs, &options, outputs, None).unwrap();
    assert_eq!(loss, all_of::<T>(&[0.5625, 1.0, 4.0]));
    assert_eq!(bits(&grad), bits(&all_of::<T>(&[0.0, 1.5, 2.0, 0.0, -4.0, 0.0])));
    assert_eq!(bits(&hess), bits(&all_of::<T>(&[0.0, 2.0, 2.0, 0.0, 2.0, 0.0])));
    assert_eq!(cost.mean(), 5.5625 / 3.0);

    // huber, weighted; errors are neither weighted nor scaled
    let weight = all_of::<T>(&[2.0, 1.0, 0.5]);
    let inputs = inputs.weight(&weight);
    let mut errors = all_of::<T>(&[0.0; 3]);
    let outputs = Outputs::new().loss(&mut loss[..1]).grad(&mut grad).hess(&mut hess);
    let options = Options::new().grad_scale(3.0);
    Td::huber(0.5, 1.0).eval(&context(), &inputs, &options, outputs, Some(&mut errors)).unwrap();
    assert_eq!(errors, all_of::<T>(&[-0.75, -1.0, 2.0]));
    assert_eq!(loss[0], T::of((2.0 * 0.28125 + 0.5 + 0.5 * 1.5) / 3.0));
    assert_eq!(bits(&grad), bits(&all_of::<T>(&[0.0, 1.5, 1.0, 0.0, -0.5, 0.0])));
    assert_eq!([hess[1], hess[4]], [T::of(2.0), T::of(0.0)]);
}

#[test]
fn the_target_is_reward_and_discounted_maximum_unless_the_episode_ended() {
    bellman::<f32>();
    bellman::<f64>();
}

fn ended<T: Float>() {
    for actions in [1, 2, 5, 33, 64, 100] {
        for double in [false, true] {
            let rows = 34;
            let random = &mut Random(actions as u64);
            let (q, reward): (Vec<T>, Vec<T>) = (random.numbers(rows * actions, 2.0), random.numbers(rows, 2.0));
            let action = random.indices(rows, actions);
            for unread in [NAN, INF, -INF] {
                let next_q = all_of::<T>(&vec![unread; rows * actions]);
                let done: Vec<u8> = (0..rows).map(|row| [1, 255, 128][row % 3]).collect();
                let mut inputs = TdInputs::new(actions, &q, Indices::I64(&action), &reward, &next_q).done(&done);
                if double {
                    inputs = inputs.next_q_online(&next_q);
                }
                let got = errors(Td::mse(0.9), &inputs, rows);
                for row in 0..rows {
                    let q = q[row * actions + action[row] as usize].wide();
                    assert_eq!(got[row], T::of(reward[row].wide() - q).wide());
                }
            }
        }
    }
}

#[test]
fn rows_that_ended_read_nothing_of_what_follows() {
    ended::<f32>();
    ended::<f64>();
}

/// One row, with q and reward 0 and gamma 1: the error is the value chosen.
fn chosen<T: Float>(next_q: &[f64], online: Option<&[f64]>) -> f64 {
    let actions = next_q.len();
    let (zeros, next_q) = (all_of::<T>(&vec![0.0; actions]), all_of::<T>(next_q));
    let online = online.map(all_of::<T>);
    let reward = [T::of(0.0)];
    let mut inputs = TdInputs::new(actions, &zeros, Indices::U8(&[0]), &reward, &next_q);
    if let Some(online) = &online {
        inputs = inputs.next_q_online(online);
    }
    errors(Td::mse(1.0), &inputs, 1)[0]
}

fn maxima<T: Float>() {
    for actions in 1..=70 {
        for place in 0..actions {
            let mut next_q = vec![-3.0; actions];
            next_q[place] = -1.0;
            assert_eq!(chosen::<T>(&next_q, None), -1.0, "{actions} actions, the maximum at {place}");
            next_q[place] = NAN;
            assert!(chosen::<T>(&next_q, None).is_nan(), "{actions} actions, NaN at {place}");
            next_q.fill(-INF);
            next_q[place] = -7.0;
            assert_eq!(chosen::<T>(&next_q, None), -7.0);
            // chosen by another network
            let values: Vec<f64> = (0..actions).map(|action| -(action as f64)).collect();
            let mut online = vec![2.0; actions];
            online[place] = 3.0;
            assert_eq!(chosen::<T>(&values, Some(&online)), -(place as f64));
            online[place..].fill(3.0);
            assert_eq!(chosen::<T>(&values, Some(&online)), -(place as f64), "the first of equal maxima");
            online[place] = NAN;
            assert_eq!(chosen::<T>(&values, Some(&online)), -(place as f64), "NaN is chosen");
            online[actions - 1] = NAN;
            assert_eq!(chosen::<T>(&values, Some(&online)), -(place as f64), "the first NaN is chosen");
        }
    }
    assert_eq!(chosen::<T>(&[-INF; 5], None), -INF);
    assert_eq!(chosen::<T>(&[-INF, INF, 0.0], None), INF);
    assert!(chosen::<T>(&[INF, NAN], None).is_nan());
    assert!(chosen::<T>(&[NAN, INF], None).is_nan());
    // what the other network thinks of it does not count
    assert_eq!(chosen::<T>(&[5.0, -2.0, 7.0], Some(&[0.0, 1.0, 0.5])), -2.0);
    assert_eq!(chosen::<T>(&[5.0, -2.0, 7.0], Some(&[-INF; 3])), 5.0);
    assert!(chosen::<T>(&[5.0, NAN, 7.0], Some(&[0.0, 1.0, 0.5])).is_nan());
    assert_eq!(chosen::<T>(&[5.0, NAN, 7.0], Some(&[0.0, 1.0, 1.5])), 7.0);
    assert_eq!(chosen::<T>(&[1.0, 2.0], Some(&[0.0, -0.0])), 1.0);
}

#[test]
fn the_action_chosen_is_the_first_maximum_and_nan_wins() {
    maxima::<f32>();
    maxima::<f64>();
}

#[test]
fn an_infinite_target_has_an_infinite_loss() {
    for (next, sign) in [(f32::INFINITY, -1.0), (f32::NEG_INFINITY, 1.0)] {
        let next_q = [next; 2];
        let inputs = TdInputs::new(2, &[1.0f32, 0.0], Indices::U8(&[0]), &[0.0], &next_q);
        let mut grad = [0.0; 2];
        assert_eq!(Td::mse(0.5).mean_with_grad(&inputs, &mut grad).unwrap(), f32::INFINITY);
        assert_eq!(grad, [sign * f32::INFINITY, 0.0]);
        assert_eq!(Td::huber(0.5, 2.0).mean_with_grad(&inputs, &mut grad).unwrap(), f32::INFINITY);
        assert_eq!(grad, [sign * 2.0, 0.0]);
    }
}

#[test]
fn a_nan_of_one_row_stays_there() {
    let rows = 70;
    let q = vec![1.0f64; rows * 3];
    for at in [0, 1, 31, 32, 69] {
        for operand in 0..3 {
            let (mut q, mut reward, mut next_q) = (q.clone(), vec![0.5; rows], vec![2.0; rows * 3]);
            match operand {
                0 => q[at * 3 + 1] = NAN,
                1 => reward[at] = NAN,
                _ => next_q[at * 3] = NAN,
            }
            let actions = vec![1u8; rows];
            let inputs = TdInputs::new(3, &q, Indices::U8(&actions), &reward, &next_q);
            let got = errors(Td::huber(0.5, 1.0), &inputs, rows);
            let nans: Vec<usize> = (0..rows).filter(|&row| got[row].is_nan()).collect();
            assert_eq!(nans, [at]);
            let mut grad = vec![7.0; rows * 3];
            assert!(Td::mse(0.5).mean_with_grad(&inputs, &mut grad).unwrap().is_nan());
            let nans: Vec<usize> = (0..rows * 3).filter(|&i| grad[i].is_nan()).collect();
            assert_eq!(nans, [at * 3 + 1]);
        }
    }
}

#[test]
fn gradient_in_place_is_the_gradient() {
    let (q, next_q) = ([1.0f32, 2.0, 0.5, -1.0, 4.0, 0.0], [0.5f32, 3.0, 1.0, 2.0, -2.0, 0.0]);
    let inputs = TdInputs::new(3, &q, Indices::U8(&[1, 2]), &[1.0, -1.0], &next_q);
    let mut grad = [7.0; 6];
    let loss = Td::mse(0.5).mean_with_grad(&inputs, &mut grad).unwrap();
    let (mut in_place, mut in_place_loss) = (q, [0.0]);
    let inputs = TdInputs::new(3, &[], Indices::U8(&[1, 2]), &[1.0, -1.0], &next_q);
    let outputs = Outputs::new().loss(&mut in_place_loss);
    Td::mse(0.5).eval_in_place(&context(), &mut in_place, &inputs, &Options::new(), outputs, None).unwrap();
    assert_eq!((in_place, in_place_loss), (grad, [loss]));
}

/// Nothing follows an episode that ended, whatever the discount: not in groups of samples, nor beside the last of them.
fn infinite_discount<T: Float>() {
    for rows in [1, 3, 16, 31, 32, 33, 70] {
        let q = all_of::<T>(&vec![1.0; 2 * rows]);
        let next_q = all_of::<T>(&vec![0.0; 2 * rows]);
        let (actions, reward, done) = (vec![1; rows], all_of::<T>(&vec![3.0; rows]), vec![1; rows]);
        let inputs = TdInputs::new(2, &q, Indices::I64(&actions), &reward, &next_q).done(&done);
        let mut loss = [T::of(0.0)];
        Td::mse(INF).eval(&context(), &inputs, &Options::new(), Outputs::new().loss(&mut loss), None).unwrap();
        assert_eq!(loss[0], T::of(4.0), "{rows} rows");
    }
}

#[test]
fn an_infinite_discount_is_nothing_to_episodes_that_ended() {
    infinite_discount::<f32>();
    infinite_discount::<f64>();
}
