// Package intake decodes what services report into events: the native form, CloudEvents 1.0 in binary, structured and batch mode, the shape of
// EventBridge, and messages of queues with or without the envelope of an SNS topic.
//
// It is pure: it reads bytes and returns events or a CodeInvalid or CodeTooLarge error, and never routes, fetches or waits. An event has the same
// identity by whichever way it comes.
package intake
