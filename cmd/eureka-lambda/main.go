// Command eureka-lambda is the bootstrap of every function of the serverless service. Its environment says which role it plays; docs/adr/0012 has
// the settings.
package main

import (
	"io"
	"log/slog"
	"os"
	"runtime/debug"

	"github.com/aws/aws-lambda-go/lambda"

	"eureka/internal/lambdaapp"
)

// release is the version of this source; a build from a tagged module has its own.
const release = "0.1.0-dev"

func main() {
	handler, err := start(os.Getenv, os.Stdout)
	if err != nil {
		os.Exit(1) // Lambda reports it, with what was logged
	}
	lambda.Start(handler)
}

// start makes the handler, and logs why it cannot.
func start(get func(name string) string, out io.Writer) (lambdaapp.Handler, error) {
	settings, err := lambdaapp.FromEnv(get)
	log := slog.New(slog.NewJSONHandler(out, &slog.HandlerOptions{Level: settings.LogLevel}))
	var handler lambdaapp.Handler
	if err == nil {
		handler, err = lambdaapp.New(lambdaapp.Options{Settings: settings, Version: version(settings.Version), Log: log})
	}
	if err != nil {
		log.Error("the function cannot start", slog.String("role", string(settings.Role)), slog.Any("error", err))
	}
	return handler, err
}

// version is what the deployment said, else what the build knows.
func version(deployed string) string {
	if deployed != "" {
		return deployed
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" && info.Main.Version != "(devel)" {
		return info.Main.Version
	}
	return release
}
