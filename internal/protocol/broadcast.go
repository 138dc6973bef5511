package protocol

import "eureka"

// Broadcast is one message on its way to the subscribers of a channel: encoded once, whatever names they know the channel by.
type Broadcast struct {
	Body   []byte   // of MessageBody or ErrorBody
	Except []string // ids of sockets that do not get it
	// Facts are what the filters of subscriptions are asked about. It is called once at most, and only when there are filters. nil is for
	// frames that are not filtered: join, leave and errors.
	Facts func() eureka.Facts
}
