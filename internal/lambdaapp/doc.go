// Package lambdaapp wires one function of the serverless service by hand: the DynamoDB engine, the core, and the edge of the function's role.
//
// It knows which part needs which and nothing else: it has no use case, makes no request before the first event, and never ends the process. Parts
// that a role does not need are not made.
package lambdaapp
