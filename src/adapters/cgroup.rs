//! Resource readings of instances from cgroup files with kept file descriptors.
