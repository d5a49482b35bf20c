//! Sets of route methods, one bit each; the arithmetic behind a leaf's choice and behind `Allow`.

use http::Method;

use crate::route::RouteMethod;

/// A set of route methods. ANY is the highest bit, so that the lowest bit of a choice is the named method if there
/// is one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct MethodSet(u8);

impl MethodSet {
    pub(super) const EMPTY: Self = Self(0);

    pub(super) fn of(methods: &[RouteMethod]) -> Self {
        methods.iter().fold(Self::EMPTY, |set, method| set.with(*method))
    }

    /// The routes that a request's method asks for by its name: its own and ANY. A method that no route can name is
    /// left to ANY.
    pub(super) fn asked_for(method: &Method) -> Self {
        Self::of(RouteMethod::named(method).as_slice()).with(RouteMethod::Any)
    }

    pub(super) fn with(self, method: RouteMethod) -> Self {
        Self(self.0 | Self::bit(method))
    }

    pub(super) fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub(super) fn contains(self, method: RouteMethod) -> bool {
        self.0 & Self::bit(method) != 0
    }

    pub(super) fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// Where, among the members in their order, the first stands that is `wanted`, too: a named method before ANY.
    pub(super) fn position_of_first(self, wanted: Self) -> Option<u32> {
        let choice = self.0 & wanted.0;
        let first = choice & choice.wrapping_neg();
        (choice != 0).then(|| (self.0 & first.wrapping_sub(1)).count_ones())
    }

    fn bit(method: RouteMethod) -> u8 {
        1 << method as u8
    }
}
