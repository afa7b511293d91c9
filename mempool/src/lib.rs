//! fairlane-mempool
