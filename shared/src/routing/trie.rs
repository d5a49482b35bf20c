//! The trie behind a route table: hosts at its roots, then one level for each segment of a path. Knows where a pattern
//! stands and which patterns a path reaches, in order of precedence; what stands there it does not know.
//!
//! Layout, since an instance may hold a million routes: nodes are 32 bytes in one array, the static children of all
//! nodes are one hash table of node numbers, keyed by parent and label, and the labels are one text. So a step costs
//! one probe, however many children a node has.

use std::borrow::Cow;
use std::hash::BuildHasher;
use std::num::NonZeroU32;

use hashbrown::{DefaultHashBuilder, HashTable};

use super::method_set::MethodSet;
use crate::domain_pattern::Host;
use crate::path_pattern::Segment;
use crate::route::{HostSelector, RoutePattern};

type NodeId = u32;

/// The root of what any host reaches, and the parents of the roots of single hosts and of wildcards. Under the latter
/// two, a host is a label.
const ANY_HOST: NodeId = 0;
const STRICT_HOSTS: NodeId = 1;
const WILDCARD_HOSTS: NodeId = 2;

#[derive(Debug)]
pub(super) struct Trie {
    nodes: Vec<Node>,
    /// The labels of all nodes, in the order of the nodes.
    labels: String,
    static_children: HashTable<NodeId>,
    hasher: DefaultHashBuilder,
}

#[derive(Debug)]
struct Node {
    parent: NodeId,
    param_child: Option<NonZeroU32>,
    /// What takes a path that ends here.
    exact: Leaf,
    /// What takes a path that ends here or goes on.
    tail: Leaf,
    /// Where the label ends in `labels`; it begins where the node before has its end.
    label_end: usize,
}

/// The routes of one host and path: consecutive entries of the table, one for each method in its order.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Leaf {
    pub(super) first: u32,
    pub(super) methods: MethodSet,
}

/// Where in the trie a pattern stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    node: NodeId,
    has_tail: bool,
}

/// A leaf that takes a request.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) leaf: Leaf,
    pub(super) place: Place,
    /// Segments of the path down to the place.
    pub(super) depth: usize,
}

impl Default for Trie {
    fn default() -> Self {
        let root =
            || Node { parent: 0, param_child: None, exact: Leaf::default(), tail: Leaf::default(), label_end: 0 };
        Self {
            nodes: vec![root(), root(), root()],
            labels: String::new(),
            static_children: HashTable::new(),
            hasher: DefaultHashBuilder::default(),
        }
    }
}

impl Place {
    pub(super) fn has_tail(self) -> bool {
        self.has_tail
    }
}

impl Trie {
    /// Makes the pattern's place, or finds it where a pattern of the same host and shape stands already.
    pub(super) fn insert(&mut self, pattern: &RoutePattern) -> Place {
        let mut node = match &pattern.host {
            HostSelector::Any => ANY_HOST,
            HostSelector::Strict(host) => self.make_static_child(STRICT_HOSTS, host.as_str()),
            HostSelector::Wildcard(parent) => self.make_static_child(WILDCARD_HOSTS, parent.as_str()),
        };
        for segment in pattern.path.segments() {
            node = match segment {
                Segment::Static(text) => self.make_static_child(node, &text),
                Segment::Param(_) => self.make_param_child(node),
            };
        }
        Place { node, has_tail: pattern.path.has_tail() }
    }

    pub(super) fn leaf_mut(&mut self, place: Place) -> &mut Leaf {
        let node = &mut self.nodes[place.node as usize];
        if place.has_tail { &mut node.tail } else { &mut node.exact }
    }

    /// Gives back what growing reserved.
    pub(super) fn shrink_to_fit(&mut self) {
        self.nodes.shrink_to_fit();
        self.labels.shrink_to_fit();
        let (nodes, labels, hasher) = (&self.nodes, &self.labels, &self.hasher);
        self.static_children.shrink_to_fit(|child| hash_of(hasher, nodes, labels, *child));
    }

    /// The roots that a host reaches, from the most specific: its own, its parent's wildcard, any.
    pub(super) fn roots(&self, host: &Host<'_>) -> [Option<NodeId>; 3] {
        let strict = self.static_child(STRICT_HOSTS, host.as_str());
        let wildcard = host.split_first_label().and_then(|(_, parent)| self.static_child(WILDCARD_HOSTS, parent));
        [strict, wildcard, Some(ANY_HOST)]
    }

    /// The first leaf in order of precedence that the path reaches from a root and that holds a wanted method. Adds to
    /// `seen` the methods of all leaves that the path reached until then; without a find, these are all there are.
    pub(super) fn find(
        &self,
        root: NodeId,
        segments: &[Cow<'_, str>],
        wanted: MethodSet,
        seen: &mut MethodSet,
    ) -> Option<Found> {
        Search { trie: self, segments, wanted, seen }.descend(root, 0)
    }

    /// The positions of the segments that parameters took on the way to a place, from the right.
    pub(super) fn param_positions(&self, found: &Found) -> impl Iterator<Item = usize> {
        let mut child = found.place.node;
        (0..found.depth).rev().filter(move |_| {
            let parent = self.nodes[child as usize].parent;
            let is_param = self.nodes[parent as usize].param_child.is_some_and(|param| param.get() == child);
            child = parent;
            is_param
        })
    }

    fn static_child(&self, parent: NodeId, label: &str) -> Option<NodeId> {
        if self.static_children.is_empty() {
            return None;
        }
        let is_it = |child: &NodeId| {
            self.nodes[*child as usize].parent == parent && label_of(&self.nodes, &self.labels, *child) == label
        };
        self.static_children.find(self.hasher.hash_one((parent, label)), is_it).copied()
    }

    fn make_static_child(&mut self, parent: NodeId, label: &str) -> NodeId {
        if let Some(child) = self.static_child(parent, label) {
            return child;
        }
        let child = self.push_node(parent, label);
        let (nodes, labels, hasher) = (&self.nodes, &self.labels, &self.hasher);
        self.static_children.insert_unique(hasher.hash_one((parent, label)), child.get(), |child| {
            hash_of(hasher, nodes, labels, *child)
        });
        child.get()
    }

    fn make_param_child(&mut self, parent: NodeId) -> NodeId {
        if let Some(child) = self.nodes[parent as usize].param_child {
            return child.get();
        }
        let child = self.push_node(parent, "");
        self.nodes[parent as usize].param_child = Some(child);
        child.get()
    }

    fn push_node(&mut self, parent: NodeId, label: &str) -> NonZeroU32 {
        let id = u32::try_from(self.nodes.len()).ok().and_then(NonZeroU32::new);
        self.labels.push_str(label);
        self.nodes.push(Node {
            parent,
            param_child: None,
            exact: Leaf::default(),
            tail: Leaf::default(),
            label_end: self.labels.len(),
        });
        id.expect("there are roots before it, and 2^32 nodes of 32 bytes do not fit into memory")
    }
}

fn label_of<'t>(nodes: &[Node], labels: &'t str, id: NodeId) -> &'t str {
    let id = id as usize;
    &labels[nodes[id - 1].label_end..nodes[id].label_end]
}

fn hash_of(hasher: &DefaultHashBuilder, nodes: &[Node], labels: &str, id: NodeId) -> u64 {
    hasher.hash_one((nodes[id as usize].parent, label_of(nodes, labels, id)))
}

struct Search<'t, 'r> {
    trie: &'t Trie,
    segments: &'r [Cow<'r, str>],
    wanted: MethodSet,
    seen: &'r mut MethodSet,
}

impl Search<'_, '_> {
    /// Goes down in order of precedence: the path's end or the static child, then the parameter, then the tail; the
    /// caller comes back here for the next where a way leads to nothing.
    ///
    /// A search enters a node at most once, since a node has one parent and a step to any child takes one segment. It costs
    /// one probe for each node that the path comes to, which are as many as [`super::Spread`] admits, and it nests no deeper
    /// than the longest pattern, which has 64 segments.
    fn descend(&mut self, node: NodeId, depth: usize) -> Option<Found> {
        let trie = self.trie;
        let Node { exact, tail, param_child, .. } = &trie.nodes[node as usize];
        let sooner = match self.segments.get(depth) {
            None => self.take(*exact, node, depth, false),
            Some(segment) => {
                let static_child = trie.static_child(node, segment);
                let param_child = param_child.filter(|_| !segment.is_empty()).map(NonZeroU32::get);
                [static_child, param_child].into_iter().flatten().find_map(|child| self.descend(child, depth + 1))
            }
        };
        sooner.or_else(|| self.take(*tail, node, depth, true))
    }

    fn take(&mut self, leaf: Leaf, node: NodeId, depth: usize, has_tail: bool) -> Option<Found> {
        *self.seen = self.seen.union(leaf.methods);
        let place = Place { node, has_tail };
        leaf.methods.intersects(self.wanted).then_some(Found { leaf, place, depth })
    }
}
