package dynamo

import "eureka"

// TaskKind says what a task does.
type TaskKind string

// The kinds of tasks.
const (
	TaskFanout  TaskKind = "fanout"  // deliver Body on one shard of a channel without history
	TaskDeliver TaskKind = "deliver" // deliver on one shard of a channel with history what was not delivered yet
	TaskReplay  TaskKind = "replay"  // send a resumed socket what it missed on a channel, then make its subscription live
	TaskSend    TaskKind = "send"    // send Frames to the sockets of Sockets, in order
)

// Task is work for a later call of a function, small enough for a queue's message (256 KiB as JSON). Doing it twice does no harm beyond frames
// that their receivers drop by their cursor; TaskSend and TaskFanout may be seen twice.
type Task struct {
	Kind    TaskKind       `json:"kind"`
	Channel string         `json:"channel,omitempty"` // id
	Shard   int            `json:"shard,omitempty"`
	Body    []byte         `json:"body,omitempty"`    // what protocol.MessageBody made
	Except  []string       `json:"except,omitempty"`  // hashes of socket ids
	Origin  *eureka.Origin `json:"origin,omitempty"`  // of the message; nil for none
	Sockets []string       `json:"sockets,omitempty"` // TaskSend; TaskReplay: one
	Replay  string         `json:"replay,omitempty"`  // id of a TaskReplay
	Entry   string         `json:"entry,omitempty"`   // sort key of the subscriber, of a TaskReplay
	Early   bool           `json:"early,omitempty"`   // of a TaskReplay that was queued before its replay began
	Frames  [][]byte       `json:"frames,omitempty"`
	Since   int64          `json:"since,omitempty"`   // epoch milliseconds when the work began; it is given up after a while
	Attempt int            `json:"attempt,omitempty"` // how often it was put back already
}

// originOf is the origin as a task carries it.
func originOf(o eureka.Origin) *eureka.Origin {
	if o == (eureka.Origin{}) {
		return nil
	}
	return &o
}

// origin is the origin that the task carries.
func (t Task) origin() eureka.Origin {
	if t.Origin == nil {
		return eureka.Origin{}
	}
	return *t.Origin
}
