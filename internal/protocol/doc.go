// Package protocol is the text on the wire: it parses the frames that clients send and encodes those the service sends.
//
// It knows JSON and the frame table of docs/protocol.md, and nothing else: it never touches a socket, a port or a
// clock. A message's frame is encoded once; only the channel's name in front of it differs between subscribers.
package protocol
