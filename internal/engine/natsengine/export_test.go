package natsengine

// What the external tests of the engine use of the package's own.
var (
	StartServer   = startServer
	StartServerOn = startServerOn
	StartCluster  = startCluster
	StopServer    = stopServer
)
