//! Plans, applies and proves each kind of resource.
