// Package awslocal starts the local stand-ins of AWS services that tests and `eureka simulate` run against: DynamoDB Local, which is AWS's own
// engine, and fauxqs for SQS and SNS. `make tools` installs them.
//
// It starts and stops processes and hands out endpoints; it knows nothing of tables, queues or the service. Everything listens on loopback alone.
package awslocal
