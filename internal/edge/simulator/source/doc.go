// Package source feeds functions from queues and from the clock, as Lambda's event source mappings and EventBridge's rules do.
//
// Delivery is at least once: what a function fails on comes again when its visibility is over, and ends in the dead-letter queue by the queue's own
// policy. The package never moves a message there itself and never looks into one.
package source
