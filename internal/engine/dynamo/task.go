package dynamo

// TaskKind says what a task does.
type TaskKind string

// The kinds of tasks.
const (
	TaskFanout  TaskKind = "fanout"  // deliver Body on one shard of a channel without history
	TaskDeliver TaskKind = "deliver" // deliver on one shard of a channel with history what was not delivered yet
	TaskReplay  TaskKind = "replay"  // send a resumed socket what it missed on a channel, then make its subscription live
	TaskMove    TaskKind = "move"    // have one shard's subscribers follow the name that they subscribed by: to the channel that took it, or out of one that was deleted
	TaskSend    TaskKind = "send"    // send Frames to the sockets of Sockets, in order
)

// Task is work for a later call of a function, small enough for a queue's message (256 KiB as JSON). Doing it twice does no harm beyond frames
// that their receivers drop by their cursor; TaskSend and TaskFanout may be seen twice.
type Task struct {
	Kind    TaskKind `json:"kind"`
	Channel string   `json:"channel,omitempty"` // id
	Shard   int      `json:"shard,omitempty"`
	Body    []byte   `json:"body,omitempty"` // what protocol.MessageBody made
	// Where Body comes from, for filters; absent in tasks of earlier versions.
	Service   string   `json:"service,omitempty"`
	ModelType string   `json:"modelType,omitempty"`
	ModelID   string   `json:"modelId,omitempty"`
	Except    []string `json:"except,omitempty"`  // hashes of socket ids
	Sockets   []string `json:"sockets,omitempty"` // TaskSend; TaskReplay: one
	Replay    string   `json:"replay,omitempty"`  // id of a TaskReplay
	Entry     string   `json:"entry,omitempty"`   // sort key of the subscriber, of a TaskReplay
	Early     bool     `json:"early,omitempty"`   // of a TaskReplay or a TaskMove that was queued before what it follows
	Frames    [][]byte `json:"frames,omitempty"`
	Since     int64    `json:"since,omitempty"`   // epoch milliseconds when the work began; it is given up after a while
	Attempt   int      `json:"attempt,omitempty"` // how often it was put back already
}
