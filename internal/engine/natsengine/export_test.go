package natsengine

// What the external tests of the engine use of the package's own.
var (
	StartServer   = startServer
	StartServerOn = startServerOn
	StartCluster  = startCluster
	StopServer    = stopServer
)

// Crash ends the engine's connection as a dying process would: without a word to the other nodes.
func (e *Engine) Crash() { e.nc.Close() }

// InboxSize is how many live messages may wait for one dispatcher.
const InboxSize = inboxSize
