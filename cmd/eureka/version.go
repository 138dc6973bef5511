package main

import (
	"runtime"
	"runtime/debug"
)

// release is the version of this source; a build from a tagged module has its own.
const release = "0.1.0-dev"

type versionCmd struct{}

// Run prints the version.
func (*versionCmd) Run(s *session) error {
	if s.json {
		return s.printJSON(map[string]string{"version": version(), "go": runtime.Version()})
	}
	return s.printf("eureka %s (%s %s/%s)\n", version(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
}

func version() string {
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" && info.Main.Version != "(devel)" {
		return info.Main.Version
	}
	return release
}
