//go:build embedfunctions

package deploy

import _ "embed" // for the zip

// carried is the zip of the functions, which `make build` puts here: a binary that was built so deploys anywhere.
//
//go:embed functions.zip
var carried []byte
