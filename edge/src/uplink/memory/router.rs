//! Who wants a topic.

use std::collections::{BTreeMap, BTreeSet};

/// A topic is matched in the number of its levels and not of subscribers.
#[derive(Debug, Default)]
pub(super) struct Router {
    /// Filters without `+`. Most are: each device of a gateway has one, so they must be small.
    plain: BTreeMap<Box<str>, Box<[usize]>>,
    /// Those with one, as a tree of their levels.
    root: Node,
}

#[derive(Debug, Default)]
struct Node {
    children: BTreeMap<Box<str>, Self>,
    clients: BTreeSet<usize>,
}

impl Router {
    pub(super) fn subscribe(&mut self, filter: &str, client: usize) {
        if filter.split('/').any(|level| level == "+") {
            let mut node = &mut self.root;
            for level in filter.split('/') {
                node = node.children.entry(level.into()).or_default();
            }
            node.clients.insert(client);
            return;
        }
        let Some(clients) = self.plain.get_mut(filter) else {
            self.plain.insert(filter.into(), [client].into());
            return;
        };
        if !clients.contains(&client) {
            *clients = clients.iter().copied().chain([client]).collect();
        }
    }

    pub(super) fn unsubscribe(&mut self, filter: &str, client: usize) {
        let mut node = Some(&mut self.root);
        for level in filter.split('/') {
            node = node.and_then(|node| node.children.get_mut(level));
        }
        if let Some(node) = node {
            node.clients.remove(&client);
        }
        if let Some(clients) = self.plain.get_mut(filter) {
            *clients = clients.iter().copied().filter(|it| *it != client).collect();
            if clients.is_empty() {
                self.plain.remove(filter);
            }
        }
    }

    /// Who subscribed to a filter that matches `topic`; each once, in ascending order.
    pub(super) fn subscribers(&self, topic: &str) -> BTreeSet<usize> {
        let mut found = BTreeSet::new();
        let mut find = |filter: &str| found.extend(self.plain.get(filter).into_iter().flatten());
        find(topic);
        find("#");
        let mut filter = String::with_capacity(topic.len() + 2);
        for level in topic.split('/') {
            filter.push_str(level);
            filter.push_str("/#");
            find(&filter);
            filter.pop();
        }
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
            ("a/b/#", "a/bc", false),
            ("a/+/#", "a/b/c/d", true),
        ] {
            let mut router = Router::default();
            router.subscribe(filter, 3);
            router.subscribe(filter, 3);
            router.subscribe(filter, 2);
            let wanted: &[usize] = if is_wanted { &[2, 3] } else { &[] };
            let found: Vec<_> = router.subscribers(topic).into_iter().collect();
            assert_eq!(found, wanted, "{filter} {topic}");
            assert_eq!(is_match(filter, topic), is_wanted, "{filter} {topic}");
            router.unsubscribe(filter, 3);
            assert!(!router.subscribers(topic).contains(&3));
            assert_eq!(router.subscribers(topic).contains(&2), is_wanted);
        }
    }
}
