//! fairlane-node
