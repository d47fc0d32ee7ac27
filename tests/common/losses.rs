//! The losses of independent elements, all that stand in the library's table, so that a test or a benchmark can say "for
//! every loss" and names none.

// Every test file that includes this module uses its own part of it.
#![allow(dead_code)]

#[allow(clippy::duplicate_mod)]
#[path = "../../src/loss/table.rs"]
mod table;

use losskit::*;
use table::for_pointwise_losses;

/// What a loss takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inputs {
    /// Numbers against numbers.
    Numbers,
    /// Numbers against labels from 0 to 1.
    Logits,
    /// Probabilities against labels from 0 to 1; other numbers make sense too.
    Probabilities,
    /// Probabilities against labels from 0 to 1; other numbers are outside of the loss's domain.
    OnlyProbabilities,
}

impl Inputs {
    pub const ALL: [Inputs; 4] = [Inputs::Numbers, Inputs::Logits, Inputs::Probabilities, Inputs::OnlyProbabilities];

    /// By the table's word.
    fn of(word: &str) -> Self {
        match word {
            "numbers" => Inputs::Numbers,
            "logits" => Inputs::Logits,
            "probabilities" => Inputs::Probabilities,
            "only_probabilities" => Inputs::OnlyProbabilities,
            _ => panic!("{word}: what are these?"),
        }
    }
    pub fn are_probabilities(self) -> bool {
        matches!(self, Inputs::Probabilities | Inputs::OnlyProbabilities)
    }
    /// Whether targets are labels.
    pub fn have_labels(self) -> bool {
        self != Inputs::Numbers
    }
}

/// What each of the losses can do.
pub trait PointwiseLoss<T>: Sync {
    fn mean(&self, input: &[T], target: &[T]) -> Result<T, Error>;

    fn mean_with_grad(&self, input: &[T], target: &[T], grad: &mut [T]) -> Result<T, Error>;

    fn eval(
        &self,
        context: &Context,
        input: &[T],
        target: &[T],
        weight: Option<&[T]>,
        options: &Options,
        outputs: Outputs<'_, T>,
    ) -> Result<Summary, Error>;

    fn eval_in_place(
        &self,
        context: &Context,
        input: &mut [T],
        target: &[T],
        weight: Option<&[T]>,
        options: &Options,
        outputs: Outputs<'_, T>,
    ) -> Result<Summary, Error>;
}

/// The trait is what the type has of itself.
macro_rules! implement {
    ($Loss: ident []) => {
        implement! { for $Loss }
    };
    ($Loss: ident [$number: ident: T]) => {
        implement! { for $Loss }
    };
    ($Loss: ident [$array: ident: *const T, $len: ident: usize, $params: ident: *const $Params: ident]) => {
        implement! { for $Loss<'_, T> }
    };
    (for $Loss: ty) => {
        impl<T: Element> PointwiseLoss<T> for $Loss {
            fn mean(&self, input: &[T], target: &[T]) -> Result<T, Error> {
                self.mean(input, target)
            }
            fn mean_with_grad(&self, input: &[T], target: &[T], grad: &mut [T]) -> Result<T, Error> {
                self.mean_with_grad(input, target, grad)
            }
            fn eval(
                &self,
                context: &Context,
                input: &[T],
                target: &[T],
                weight: Option<&[T]>,
                options: &Options,
                outputs: Outputs<'_, T>,
            ) -> Result<Summary, Error> {
                self.eval(context, input, target, weight, options, outputs)
            }
            fn eval_in_place(
                &self,
                context: &Context,
                input: &mut [T],
                target: &[T],
                weight: Option<&[T]>,
                options: &Options,
                outputs: Outputs<'_, T>,
            ) -> Result<Summary, Error> {
                self.eval_in_place(context, input, target, weight, options, outputs)
            }
        }
    };
}

/// The enum of losses with their options, of the lines of the table one after the other.
macro_rules! formula {
    // all lines are read
    (($number: ident, $array: ident) {$($variant: tt)*} {$($loss: tt)*} {$($example: tt)*} {$($own: tt)*}) => {
        /// A loss with its options.
        #[derive(Clone, Debug, PartialEq)]
        pub enum Formula<T> {
            $($variant)*
        }

        impl<T: Element> Formula<T> {
            /// All losses; those that have a number or an array as an option with these.
            pub fn all($number: f64, $array: &[T]) -> Vec<Self> {
                vec![$($example)*]
            }
            pub fn loss(&self) -> Box<dyn PointwiseLoss<T> + '_> {
                match self {
                    $($loss)*
                }
            }
            /// The array that is its option; none for losses that have none.
            pub fn array(&self) -> &[T] {
                match self {
                    $($own)*
                    _ => &[],
                }
            }
            /// The loss as element `i` has it.
            pub fn of_element(&self, i: usize) -> Self {
                let array = self.array();
                let own: &[T] = if array.is_empty() { &[] } else { &array[i % array.len()..][..1] };
                if own.is_empty() { self.clone() } else { Self::by_name(self.name(), 0.0, own).expect("it is one") }
            }
            /// The loss of that name, with the option that it may have.
            pub fn by_name(name: &str, number: f64, array: &[T]) -> Option<Self> {
                Self::all(number, array).into_iter().find(|formula| formula.name() == name)
            }
        }
    };
    ($options: tt {$($variant: tt)*} {$($loss: tt)*} {$($example: tt)*} {$($own: tt)*} $Loss: ident [] $($more: tt)*) => {
        formula! {
            $options
            {$($variant)* $Loss,}
            {$($loss)* Formula::$Loss => Box::new($Loss::new()),}
            {$($example)* Formula::$Loss,}
            {$($own)*}
            $($more)*
        }
    };
    (
        ($number: ident, $array: ident) {$($variant: tt)*} {$($loss: tt)*} {$($example: tt)*} {$($own: tt)*}
        $Loss: ident [$name: ident: T] $($more: tt)*
    ) => {
        formula! {
            ($number, $array)
            {$($variant)* $Loss(f64),}
            {$($loss)* Formula::$Loss($name) => Box::new($Loss::new(*$name)),}
            {$($example)* Formula::$Loss($number),}
            {$($own)*}
            $($more)*
        }
    };
    (
        ($number: ident, $array: ident) {$($variant: tt)*} {$($loss: tt)*} {$($example: tt)*} {$($own: tt)*}
        $Loss: ident [$name: ident: *const T, $len: ident: usize, $params: ident: *const $Params: ident] $($more: tt)*
    ) => {
        formula! {
            ($number, $array)
            {$($variant)* $Loss(Vec<T>),}
            {$($loss)* Formula::$Loss($name) => Box::new($Loss::new().$name($name)),}
            {$($example)* Formula::$Loss($array.to_vec()),}
            {$($own)* Formula::$Loss(array) => array,}
            $($more)*
        }
    };
}

macro_rules! losses {
    ($($name: ident $Loss: ident $formula: tt $arguments: tt $inputs: ident;)*) => {
        formula! { (number, array) {} {} {} {} $($Loss $arguments)* }

        impl<T: Element> Formula<T> {
            pub fn name(&self) -> &'static str {
                match self {
                    $(Formula::$Loss { .. } => stringify!($name),)*
                }
            }
            pub fn inputs(&self) -> Inputs {
                match self {
                    $(Formula::$Loss { .. } => Inputs::of(stringify!($inputs)),)*
                }
            }
        }

        $(implement! { $Loss $arguments })*
    };
}
for_pointwise_losses! { losses }
