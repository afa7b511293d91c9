//! fairlane-replica
