#[cfg(test)]
pub(crate) mod tests {
    pub(crate) fn sample(class: fairlane_replica::Class) -> crate::pending::Message {
        crate::pending::Message(class, vec![1])
    }
}
