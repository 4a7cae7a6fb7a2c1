//! The endpoint over loopback, with a tiny worker process in the same process.

use arrow_flight::flight_service_client::FlightServiceClient;
use tidemill_plans::protocol::{CoordinatorLink, EventResponse, WORKER_ACTION, WorkerLink, WorkerRequest};
use tidemill_plans::settings::Settings;
use tokio::net::TcpListener;
use tonic::transport::Channel;
use tonic::transport::server::TcpIncoming;

use super::*;
use crate::handle::CoordinatorConfig;
use crate::job::JobStatus;
use crate::testing::{FakeLink, FakeWorker, Script, run, two_stage_graph};

const LOOPBACK: &str = "127.0.0.1:0";

/// A worker's endpoint: the least that the coordinator needs.
struct WorkerService(FakeLink);

#[tonic::async_trait]
impl FlightService for WorkerService {
    type HandshakeStream = Boxed<HandshakeResponse>;
    type ListFlightsStream = Boxed<FlightInfo>;
    type DoGetStream = Boxed<FlightData>;
    type DoPutStream = Boxed<PutResult>;
    type DoActionStream = Boxed<arrow_flight::Result>;
    type ListActionsStream = Boxed<ActionType>;
    type DoExchangeStream = Boxed<FlightData>;

    async fn do_action(&self, request: Request<Action>) -> Result<Response<Self::DoActionStream>, Status> {
        let action = request.into_inner();
        assert_eq!(action.r#type, WORKER_ACTION);
        let request: WorkerRequest = codec::decode(&action.body).unwrap();
        let response = self.0.request(request).await.unwrap();
        let result = arrow_flight::Result { body: codec::encode(&response).unwrap().into() };
        Ok(Response::new(Box::pin(stream::iter([Ok(result)]))))
    }

    async fn handshake(
        &self,
        _: Request<Streaming<HandshakeRequest>>,
    ) -> Result<Response<Self::HandshakeStream>, Status> {
        unreachable!()
    }

    async fn list_flights(&self, _: Request<Criteria>) -> Result<Response<Self::ListFlightsStream>, Status> {
        unreachable!()
    }

    async fn get_flight_info(&self, _: Request<FlightDescriptor>) -> Result<Response<FlightInfo>, Status> {
        unreachable!()
    }

    async fn poll_flight_info(&self, _: Request<FlightDescriptor>) -> Result<Response<PollInfo>, Status> {
        unreachable!()
    }

    async fn get_schema(&self, _: Request<FlightDescriptor>) -> Result<Response<SchemaResult>, Status> {
        unreachable!()
    }

    async fn do_get(&self, _: Request<Ticket>) -> Result<Response<Self::DoGetStream>, Status> {
        unreachable!()
    }

    async fn do_put(&self, _: Request<Streaming<FlightData>>) -> Result<Response<Self::DoPutStream>, Status> {
        unreachable!()
    }

    async fn do_exchange(&self, _: Request<Streaming<FlightData>>) -> Result<Response<Self::DoExchangeStream>, Status> {
        unreachable!()
    }

    async fn list_actions(&self, _: Request<Empty>) -> Result<Response<Self::ListActionsStream>, Status> {
        unreachable!()
    }
}

/// What a remote worker has instead of a handle.
struct RemoteCoordinator(FlightServiceClient<Channel>);

impl CoordinatorLink for RemoteCoordinator {
    fn send(&self, event: WorkerEvent) -> tidemill_plans::protocol::Reply<EventResponse> {
        let client = self.0.clone();
        Box::pin(async move { Ok(send(client, COORDINATOR_ACTION, &event).await.unwrap()) })
    }
}

async fn send(
    mut client: FlightServiceClient<Channel>,
    action: &str,
    event: &WorkerEvent,
) -> Result<EventResponse, Status> {
    let action = Action { r#type: action.into(), body: codec::encode(event).unwrap().into() };
    let result = client.do_action(action).await?.into_inner().message().await?.unwrap();
    Ok(codec::decode(&result.body).unwrap())
}

async fn start() -> (CoordinatorHandle, FlightServiceClient<Channel>, ServerGuard) {
    let coordinator = CoordinatorHandle::start(CoordinatorConfig::default()).unwrap();
    let (address, guard) = serve(coordinator.clone(), LOOPBACK.parse().unwrap()).await.unwrap();
    let channel = Channel::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap();
    let client = FlightServiceClient::new(channel);
    (coordinator, client, guard)
}

async fn serve_worker(worker: &Arc<FakeWorker>) -> (String, JoinSet<()>) {
    let listener = TcpListener::bind(LOOPBACK).await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let service = FlightServiceServer::new(WorkerService(FakeLink(Arc::clone(worker))));
    let mut task = JoinSet::new();
    task.spawn(async move {
        Server::builder().add_service(service).serve_with_incoming(TcpIncoming::from(listener)).await.unwrap();
    });
    (address, task)
}

#[test]
fn a_remote_worker_registers_and_runs_a_job() {
    run(async {
        let (coordinator, client, _guard) = start().await;
        let link = Arc::new(RemoteCoordinator(client.clone()));
        let worker = FakeWorker::new(Script::Finish { results: vec![] }, link);
        let (data_address, _task) = serve_worker(&worker).await;
        let register = WorkerEvent::Register { data_address: data_address.clone(), slots: 2, cluster: None };
        let registered = send(client.clone(), COORDINATOR_ACTION, &register).await.unwrap();
        let EventResponse::Registered { worker: id, .. } = registered else {
            panic!("a registration is answered with an id");
        };
        worker.is(id);
        let job = coordinator.submit(two_stage_graph(2, 1), Settings::default()).await.unwrap();
        assert_eq!(job.wait().await, JobStatus::Finished);

        // The process at this address starts anew: its former self is gone.
        let registered = send(client, COORDINATOR_ACTION, &register).await.unwrap();
        let EventResponse::Registered { worker: again, .. } = registered else {
            panic!("a registration is answered with an id");
        };
        assert_ne!(again, id);
        let workers = coordinator.workers().await.unwrap();
        assert_eq!(workers.iter().map(|worker| (worker.id, worker.slots)).collect::<Vec<_>>(), [(again, 2)]);
        coordinator.shutdown().await;
        assert!(worker.requests().ends_with("Shutdown"), "{}", worker.requests());
    });
}

#[test]
fn a_worker_whose_process_is_gone_fails_the_job_by_name() {
    run(async {
        let (coordinator, client, _guard) = start().await;
        let worker = FakeWorker::new(Script::Hang, Arc::new(RemoteCoordinator(client.clone())));
        let (data_address, task) = serve_worker(&worker).await;
        let register = WorkerEvent::Register { data_address: data_address.clone(), slots: 1, cluster: None };
        send(client, COORDINATOR_ACTION, &register).await.unwrap();
        let mut task = task;
        task.shutdown().await;
        let job = coordinator.submit(two_stage_graph(1, 1), Settings::default()).await.unwrap();
        let JobStatus::Failed { message, .. } = job.wait().await else { panic!("the job fails") };
        assert!(message.contains(&format!("worker-1 at {data_address} was lost")), "{message}");
        assert!(coordinator.workers().await.unwrap().is_empty());
        coordinator.shutdown().await;
    });
}

#[test]
fn what_is_not_served_says_what_is() {
    run(async {
        let (coordinator, client, _guard) = start().await;
        let heartbeat =
            WorkerEvent::Heartbeat { worker: tidemill_plans::ids::WorkerId(7), metrics: vec![], models: vec![] };
        let status = send(client.clone(), "dance", &heartbeat).await.unwrap_err();
        assert_eq!(status.code(), tonic::Code::Unimplemented);
        assert!(status.message().contains("action 'dance'") && status.message().contains(COORDINATOR_ACTION));
        let refused = send(client.clone(), COORDINATOR_ACTION, &heartbeat).await.unwrap();
        assert_eq!(refused, EventResponse::Refused("worker-7 is not registered".into()));
        let status = client.clone().get_schema(FlightDescriptor::default()).await.unwrap_err();
        assert_eq!(status.code(), tonic::Code::Unimplemented);
        let cluster = Some(String::from("another"));
        let stray = WorkerEvent::Register { data_address: "http://127.0.0.1:1".into(), slots: 1, cluster };
        let answer = send(client.clone(), COORDINATOR_ACTION, &stray).await.unwrap();
        let EventResponse::Refused(reason) = answer else { panic!("it belongs elsewhere: {answer:?}") };
        assert!(reason.contains("a worker of another has no place in it"), "{reason}");
        let nowhere = WorkerEvent::Register { data_address: "http://127.0.0.1:1".into(), slots: 1, cluster: None };
        let answer = send(client.clone(), COORDINATOR_ACTION, &nowhere).await.unwrap();
        let EventResponse::Refused(reason) = answer else { panic!("nobody listens there: {answer:?}") };
        assert!(reason.contains("http://127.0.0.1:1 cannot be called back"), "{reason}");
        coordinator.shutdown().await;
        let status = send(client, COORDINATOR_ACTION, &heartbeat).await.unwrap_err();
        assert_eq!((status.code(), status.message()), (tonic::Code::Unavailable, "the coordinator has shut down"));
    });
}

#[test]
fn a_taken_port_is_named() {
    run(async {
        let coordinator = CoordinatorHandle::start(CoordinatorConfig::default()).unwrap();
        let taken = TcpListener::bind(LOOPBACK).await.unwrap();
        let address = taken.local_addr().unwrap();
        let error = serve(coordinator.clone(), address).await.unwrap_err();
        assert!(error.to_string().contains(&address.to_string()), "{error}");
        coordinator.shutdown().await;
    });
}
