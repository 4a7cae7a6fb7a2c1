//! Trees beside a tree, which learn what a part of it learns and may take its place.
//!
//! They share its nodes, so its limits hold of all together. A tree's parts and the roots beside it are named by their
//! places among the nodes; what holds such names must follow [`Tree::sweep`].

use super::{Node, Row, Tree, TreeLeaf};

impl<L: TreeLeaf> Tree<L> {
    /// Splits and leaves, those beside the tree and those that nothing leads to any more among them.
    pub(crate) fn nodes(&self) -> usize {
        self.nodes.len()
    }

    /// Writes the places that a row passes from the root to its leaf, which comes last.
    pub(crate) fn path(&self, row: Row<'_>, places: &mut Vec<usize>) {
        places.clear();
        let mut place = 0;
        loop {
            places.push(place);
            match &self.nodes[place] {
                Node::Leaf(_) => return,
                Node::Branches(branches) => place = branches.child(row),
            }
        }
    }

    /// Plants a tree of one leaf beside this one, if there is room for it; returns the place of its root.
    pub(crate) fn plant(&mut self) -> Option<u32> {
        if !self.has_room(1) {
            return None;
        }
        let leaf = L::first(&self.config, self.features, self.nodes.len());
        self.bytes += leaf.bytes();
        self.nodes.push(Node::Leaf(leaf));
        Some(self.nodes.len() as u32 - 1)
    }

    /// Puts the tree that was planted there in the place of a part of this one.
    pub(crate) fn graft(&mut self, place: usize, root: u32) {
        // Planted later than the part grew, so children still come after their parents.
        debug_assert!(place < root as usize);
        self.nodes.swap(place, root as usize);
    }

    /// Drops the nodes that neither the tree nor the trees beside it lead to; `beside` says the root of the one that
    /// belongs to a place. Returns the new place of each node.
    pub(crate) fn sweep(&mut self, beside: impl Fn(usize) -> Option<u32>) -> Vec<Option<u32>> {
        let mut is_led_to = vec![false; self.nodes.len()];
        is_led_to[0] = true;
        for (place, node) in self.nodes.iter().enumerate() {
            if !is_led_to[place] {
                continue;
            }
            if let Node::Branches(branches) = node {
                branches.children.iter().for_each(|child| is_led_to[*child as usize] = true);
            }
            if let Some(root) = beside(place) {
                is_led_to[root as usize] = true;
            }
        }
        let mut next = 0;
        let places: Vec<Option<u32>> = is_led_to
            .iter()
            .map(|is_kept| {
                let own = is_kept.then_some(next);
                next += u32::from(*is_kept);
                own
            })
            .collect();
        let mut kept = places.iter();
        self.nodes.retain(|_| kept.next().is_some_and(Option::is_some));
        for node in &mut self.nodes {
            if let Node::Branches(branches) = node {
                branches.children.iter_mut().for_each(|child| *child = places[*child as usize].unwrap_or(*child));
            }
        }
        self.bytes = self.nodes.iter().map(Node::bytes).sum();
        places
    }

    /// Says how many bytes there are beside the nodes, for the limit to hold of both.
    pub(crate) fn set_bytes_beside(&mut self, bytes: usize) {
        self.bytes_beside = bytes;
    }
}
