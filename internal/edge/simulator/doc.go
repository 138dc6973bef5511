// Package simulator is the serverless service on one machine: a local API Gateway and Lambda that run the real functions, in front of local
// stand-ins of DynamoDB, SQS and SNS, with the quotas of AWS, its faults on demand and a meter that tells what a month would cost.
//
// docs/adr/0012 is the contract between the functions, the template and this package. Everything listens on loopback, and everything that it
// started has ended when Stop returns. It knows the functions by their environment alone and imports nothing of the service but the table's
// definition.
package simulator
