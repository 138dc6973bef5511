package protocol

import "eureka"

// MessageBody encodes everything of a message frame but its channel name: the part that is the same for every subscriber.
// It is what travels between nodes. CodeTooLarge when the frame would be over eureka.MaxFrameBytes with the longest name.
func MessageBody(m eureka.Message) ([]byte, error) { return nil, nil }

// AppendMessage appends the frame {"channel":name, …body…} to dst and returns it. body comes from MessageBody; an empty name leaves the
// channel out (a message sent to a socket rather than a channel).
func AppendMessage(dst []byte, name string, body []byte) []byte { return nil }

// EncodeBye encodes the frame that precedes every close the server starts; afterMS is how long a client should wait before it reconnects.
func EncodeBye(code eureka.CloseCode, reason string, afterMS int64) []byte { return nil }

// EncodeError encodes an error frame. ref is the client's ref as it sent it (nil for none), channel "" for none. Foreign errors show no detail.
func EncodeError(ref []byte, channel string, err error) []byte { return nil }
