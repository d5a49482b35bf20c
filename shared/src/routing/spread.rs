//! How far a search among an app's routes can spread, said of their paths alone.

use std::collections::HashSet;

use crate::path_pattern::ParamShape;

/// Places among an app's routes that one path may come to, for each of the three kinds of host. A search asks for one child
/// at each, some 50 ns, on a thread that serves connections. Routes that people write for a program come to a few dozen.
const MAX_PLACES: usize = 256;

/// The places that one path can come to, counted without looking at any path.
///
/// Of two places equally many segments down that one path comes to, one has a parameter where the other has not: at all
/// other segments both hold what the path holds. So no path comes to more places than there are different ways of having
/// parameters, depth by depth, however many routes there are.
#[derive(Debug, Default)]
pub struct Spread {
    /// Segments down, and which of these are parameters, a bit each; a pattern has 64 segments at most.
    places: HashSet<(usize, u64)>,
}

impl Spread {
    /// Adds the shape of a route's path, unless one path could then come to more than 256 places; gives whether it was added.
    pub fn admit(&mut self, shape: &ParamShape) -> bool {
        let mut params = 0_u64;
        let ways = shape.params().enumerate().map(|(depth, is_param)| {
            params |= u64::from(is_param) << depth;
            (depth, params)
        });
        let new: Vec<_> = ways.filter(|way| !self.places.contains(way)).collect();
        if self.places.len() + new.len() > MAX_PLACES {
            return false;
        }
        self.places.extend(new);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::path_pattern::{PathKind, PathPattern, RequestPath};
    use std::collections::BTreeSet;

    fn param(text: &str) -> ParamShape {
        PathPattern::parse(PathKind::Param, text).unwrap().param_shape()
    }

    /// All paths of that many segments, each one of the given ones.
    fn paths(segments: &[&str], count: usize) -> Vec<String> {
        (0..count).fold(vec![String::new()], |paths, position| {
            let longer = |path: &String| {
                let path = path.clone();
                segments.iter().map(move |segment| format!("{path}/{}", segment.replace('#', &position.to_string())))
            };
            paths.iter().flat_map(longer).collect::<Vec<_>>()
        })
    }

    #[test]
    fn routes_that_double_the_search_with_each_segment_are_admitted_up_to_the_bound() {
        let mut spread = Spread::default();
        assert!(paths(&["a", ":x#"], 7).iter().all(|path| spread.admit(&param(path))));
        assert_eq!(spread.places.len(), 254);
        let admitted = paths(&["a", ":x#"], 14).iter().filter(|path| spread.admit(&param(path))).count();
        assert_eq!(admitted, 0);
        assert_eq!(spread.places.len(), 254, "what is refused leaves nothing");
        assert!(spread.admit(&param("/b/:x1/c")), "another text is no other way");
    }

    #[test]
    fn however_many_routes_of_an_ordinary_kind_are_admitted() {
        let mut spread = Spread::default();
        for number in 0..5_000 {
            for tail in ["", "/:id", "/:id/items", "/:id/items/:item", "/:id/items/:item/notes/:note"] {
                assert!(spread.admit(&param(&format!("/v1/resource-{number}{tail}"))));
            }
        }
        assert!(spread.places.len() < 16);
    }

    #[test]
    fn no_path_comes_to_more_places_than_were_counted() {
        let patterns = ["/a/b/:x", "/a/:x/b", "/:x/b/a", "/:x/:y/b", "/a/b/b/:x", "/:x/b/:y/a", "/b/:x/:y/:z", "/a/a"];
        let mut spread = Spread::default();
        assert!(patterns.iter().all(|pattern| spread.admit(&param(pattern))));
        let matches = |pattern: &[&str], path: &[&str]| {
            pattern.len() <= path.len()
                && pattern.iter().zip(path).all(|(own, sent)| own.starts_with(':') || own == sent)
        };
        for path in paths(&["a", "b", "c"], 4) {
            assert!(RequestPath::parse(&path).is_ok());
            let path: Vec<_> = path.split('/').skip(1).collect();
            let mut reached = BTreeSet::new();
            for pattern in patterns {
                let segments: Vec<_> =
                    pattern.split('/').skip(1).map(|s| if s.starts_with(':') { ":" } else { s }).collect();
                reached
                    .extend((1..=segments.len()).map(|depth| segments[..depth].to_vec()).filter(|p| matches(p, &path)));
            }
            assert!(reached.len() <= spread.places.len(), "{path:?}");
        }
    }
}
