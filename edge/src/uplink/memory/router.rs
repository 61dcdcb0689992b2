//! Who wants a topic.

use std::collections::{BTreeMap, BTreeSet};

/// Filters as a tree of their levels, so that a topic is matched in the number of its levels and not of subscribers.
#[derive(Debug, Default)]
pub(super) struct Router {
    root: Node,
}

#[derive(Debug, Default)]
struct Node {
    children: BTreeMap<Box<str>, Self>,
    clients: BTreeSet<usize>,
}

impl Router {
    pub(super) fn subscribe(&mut self, filter: &str, client: usize) {
        let mut node = &mut self.root;
        for level in filter.split('/') {
            node = node.children.entry(level.into()).or_default();
        }
        node.clients.insert(client);
    }

    /// Who subscribed to a filter that matches `topic`; each once, in ascending order.
    pub(super) fn subscribers(&self, topic: &str) -> BTreeSet<usize> {
        let mut found = BTreeSet::new();
        let levels: Vec<_> = topic.split('/').collect();
        self.root.collect(&levels, &mut found);
        found
    }
}

impl Node {
    fn collect(&self, levels: &[&str], found: &mut BTreeSet<usize>) {
        if let Some(all) = self.children.get("#") {
            found.extend(&all.clients);
        }
        let Some((level, rest)) = levels.split_first() else {
            found.extend(&self.clients);
            return;
        };
        for name in [level, "+"] {
            if let Some(child) = self.children.get(name) {
                child.collect(rest, found);
            }
        }
    }
}

/// Whether `filter` matches `topic`.
pub(in crate::uplink) fn is_match(filter: &str, topic: &str) -> bool {
    let mut levels = topic.split('/');
    for wanted in filter.split('/') {
        if wanted == "#" {
            return true;
        }
        match levels.next() {
            Some(level) if wanted == "+" || wanted == level => {}
            _ => return false,
        }
    }
    levels.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_match_as_brokers_match_them() {
        for (filter, topic, is_wanted) in [
            ("a/b", "a/b", true),
            ("a/b", "a/b/c", false),
            ("a/+", "a/b", true),
            ("a/+", "a", false),
            ("a/+/c", "a/b/c", true),
            ("a/#", "a", true),
            ("a/#", "a/b/c", true),
            ("#", "a/b", true),
            ("+", "a/b", false),
        ] {
            let mut router = Router::default();
            router.subscribe(filter, 3);
            assert_eq!(router.subscribers(topic).contains(&3), is_wanted);
            assert_eq!(is_match(filter, topic), is_wanted, "{filter} {topic}");
        }
    }
}
