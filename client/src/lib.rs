//! fairlane-client
