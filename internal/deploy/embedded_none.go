//go:build !embedfunctions

package deploy

// carried is nothing: this binary was built without the functions.
var carried []byte
