//! fairlane-simnet
