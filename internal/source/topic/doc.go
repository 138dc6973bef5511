// Package topic takes what SNS topics deliver over HTTPS: it confirms subscriptions of allowed topics and takes the events of notifications whose signature
// holds.
//
// The signature is the only credential of such a request, so nothing in it is believed before: the topic must be allowed, the time near, the certificate
// from SNS's own host of the topic's region, and the signature right. It follows no redirect, fetches a bounded number of bytes from those hosts alone, and
// subscribes to nothing by itself.
package topic
