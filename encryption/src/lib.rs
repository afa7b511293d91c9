//! fairlane-encryption
