//! fairlane-consensus
